"""Run by Alembic for `store.upgrade`, which hands over its connection, already in the transaction of the upgrade."""

from alembic import context

from mailauth.store.schema import metadata
from mailauth.store.upgrade import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,
    compare_type=True,
)
context.run_migrations()
