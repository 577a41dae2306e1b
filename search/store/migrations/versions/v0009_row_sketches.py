"""Openings keep which rows they were of, and members how many networks they have."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

jobs = sa.table("jobs", sa.column("id", sa.String), sa.column("result", sa.JSON))


def upgrade() -> None:
    """Add two columns, and the number of networks to the results.

    Of earlier openings nothing is known that could be compared: their test sets count as closed.
    """
    count = sa.Column("row_count", sa.Integer, nullable=False, server_default="0")
    op.add_column("test_openings", count)
    op.add_column("test_openings", sa.Column("smallest", sa.JSON))
    connection = op.get_bind()
    for job in connection.execute(sa.select(jobs)).all():
        if job.result and "members" in job.result:
            each = {"networks": job.result["folds"]}
            members = [{**each, **member} for member in job.result["members"]]
            change = sa.update(jobs).where(jobs.c.id == job.id)
            connection.execute(change.values(result={**job.result, "members": members}))
