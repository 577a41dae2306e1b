"""Workers and what they do; why an attempt ended badly; jobs that are paused."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add a table and two columns."""
    op.add_column("jobs", sa.Column("paused", sa.Boolean, nullable=False, server_default="0"))
    op.add_column("leases", sa.Column("reason", sa.Text))
    op.create_table(
        "workers",
        sa.Column("id", sa.String(128), primary_key=True),
        sa.Column("host", sa.String(128), nullable=False),
        sa.Column("device", sa.String(64), nullable=False),
        sa.Column("job_id", sa.String(64)),
        sa.Column("doing", sa.String(128)),
        sa.Column("seen_at", sa.Float, nullable=False),
    )
