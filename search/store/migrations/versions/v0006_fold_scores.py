"""Folds are scored by any metric, not by accuracy alone."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Rename a column."""
    op.execute("ALTER TABLE fold_results RENAME COLUMN accuracy TO score")
