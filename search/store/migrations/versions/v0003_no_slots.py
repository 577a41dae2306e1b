"""Trials are asked for under a lease: nobody counts them beside the study any more."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Drop the count."""
    op.drop_column("jobs", "trials_asked")
