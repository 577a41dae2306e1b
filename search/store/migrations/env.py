"""Alembic's entry: runs the versions on a connection that the caller opened."""

from alembic import context

from search.store.schema import VERSION_TABLE
from search.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
