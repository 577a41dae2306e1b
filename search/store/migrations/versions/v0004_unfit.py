"""Workers say which jobs they cannot work on, and why."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add a column."""
    op.add_column("workers", sa.Column("unfit", sa.JSON, nullable=False, server_default="{}"))
