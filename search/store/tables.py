"""Athanor's own tables, beside Optuna's in the same database. Times are seconds since 1970."""

import sqlalchemy as sa

metadata = sa.MetaData()

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("spec", sa.JSON, nullable=False),
    sa.Column("plan", sa.JSON),
    sa.Column("error", sa.Text),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("seconds_used", sa.Float, nullable=False),
    sa.Column("ticked_at", sa.Float, nullable=False),
    sa.Column("phases", sa.JSON, nullable=False),
    sa.Column("result", sa.JSON),
    sa.Column("processor_seconds", sa.Float, nullable=False, server_default="0"),
    sa.Column("processor_phases", sa.JSON, nullable=False, server_default="{}"),
    sa.Column("paused", sa.Boolean, nullable=False, default=False),
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("key", sa.String(128), primary_key=True),
    sa.Column("owner", sa.String(128), nullable=False),
    sa.Column("fence", sa.Integer, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("expires_at", sa.Float, nullable=False),
    sa.Column("reason", sa.Text),
)

workers = sa.Table(
    "workers",
    metadata,
    sa.Column("id", sa.String(128), primary_key=True),
    sa.Column("host", sa.String(128), nullable=False),
    sa.Column("device", sa.String(64), nullable=False),
    sa.Column("job_id", sa.String(64)),
    sa.Column("doing", sa.String(128)),
    sa.Column("unfit", sa.JSON, nullable=False, server_default="{}"),
    sa.Column("seen_at", sa.Float, nullable=False),
)

fold_results = sa.Table(
    "fold_results",
    metadata,
    sa.Column("job_id", sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("trial", sa.Integer, primary_key=True),
    sa.Column("fold", sa.Integer, primary_key=True),
    sa.Column("place", sa.Integer, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("files", sa.Text),
    sa.Column("score", sa.Float),
    sa.Column("report", sa.JSON),
)

test_openings = sa.Table(
    "test_openings",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("test_fingerprint", sa.String(64), nullable=False, index=True),
    sa.Column("row_count", sa.Integer, nullable=False, server_default="0"),
    sa.Column("smallest", sa.JSON),
    sa.Column("job_id", sa.String(64), nullable=False),
    sa.Column("opened_by", sa.String(128), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("opened_at", sa.Float, nullable=False),
    sa.Column("score", sa.Float),
)
