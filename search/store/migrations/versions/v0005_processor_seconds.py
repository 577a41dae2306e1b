"""Jobs know how many seconds of processors they have taken, and when which phase began by these."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add two columns."""
    seconds = sa.Column("processor_seconds", sa.Float, nullable=False, server_default="0")
    phases = sa.Column("processor_phases", sa.JSON, nullable=False, server_default="{}")
    for column in (seconds, phases):
        op.add_column("jobs", column)
