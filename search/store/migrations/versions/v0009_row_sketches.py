"""Openings keep which rows they were of, so that a test set with half of them counts as opened."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add two columns; of earlier openings no more than the fingerprint is known."""
    count = sa.Column("row_count", sa.Integer, nullable=False, server_default="0")
    op.add_column("test_openings", count)
    op.add_column("test_openings", sa.Column("smallest", sa.JSON))
