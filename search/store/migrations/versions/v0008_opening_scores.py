"""Openings of test sets have scores, which need not be accuracies."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

jobs = sa.table("jobs", sa.column("id", sa.String), sa.column("result", sa.JSON))


def upgrade() -> None:
    """Rename the column, and the key in results that tell of earlier openings."""
    op.execute("ALTER TABLE test_openings RENAME COLUMN accuracy TO score")
    connection = op.get_bind()
    for job in connection.execute(sa.select(jobs)).all():
        earlier = (job.result or {}).get("test_opened_before")
        if earlier:
            result = {**job.result, "test_opened_before": [_renamed(each) for each in earlier]}
            change = sa.update(jobs).where(jobs.c.id == job.id).values(result=result)
            connection.execute(change)


def _renamed(opening: dict[str, Any]) -> dict[str, Any]:
    rest = {key: value for key, value in opening.items() if key != "accuracy"}
    return {**rest, "score": opening.get("accuracy", opening.get("score"))}
