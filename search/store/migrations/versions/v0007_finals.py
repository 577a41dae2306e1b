"""Plans say what is made of the folds, results also by which metric and at which temperature."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

jobs = sa.table(
    "jobs",
    sa.column("id", sa.String),
    sa.column("plan", sa.JSON),
    sa.column("result", sa.JSON),
)


def upgrade() -> None:
    """Say of earlier jobs what all of them did."""
    connection = op.get_bind()
    for job in connection.execute(sa.select(jobs)).all():
        values = {}
        if job.plan:
            values["plan"] = {"final": "bag", **job.plan}
        if job.result:
            score = job.result.get("out_of_fold_accuracy")
            added: dict[str, Any] = {
                "final": "bag",
                "metric": "accuracy",
                "out_of_fold_score": score,
                "temperature": 1.0,
                "expected": {"score": score, "interval": [score, score], "rows": 0, "lower": True},
                "test_opened_before": [],
            }
            values["result"] = {**added, **job.result}
        if values:
            connection.execute(sa.update(jobs).where(jobs.c.id == job.id).values(**values))
