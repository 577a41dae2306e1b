"""Plans name the parameters that trials take over from the first ones."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

jobs = sa.table("jobs", sa.column("id", sa.String), sa.column("plan", sa.JSON))
SETTLED = (
    "optimizer",
    "sgd_learning_rate",
    "adamw_learning_rate",
    "schedule",
    "layer_rate_factor",
    "norm_bias_rate",
    "averaging",
    "skip",
    "mixup",
    "augmentation",
    "augment_until",
    "batch_size",
)


def upgrade() -> None:
    """Say of earlier jobs what they did: these were all settled, or none."""
    connection = op.get_bind()
    for job in connection.execute(sa.select(jobs)).all():
        if job.plan:
            plan = dict(job.plan)
            plan["settled"] = [] if plan.pop("search_recipe", True) else list(SETTLED)
            change = sa.update(jobs).where(jobs.c.id == job.id)
            connection.execute(change.values(plan=plan))
