"""Alembic's entry: the URL comes from `Database.upgrade`, never from a file or the environment."""

from alembic import context
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from vault.catalog.tables import metadata

engine = create_engine(context.config.attributes["url"], poolclass=NullPool)
with engine.begin() as connection:
    if connection.dialect.name == "postgresql":
        # Several replicas may start at once; one migrates, the others wait and then find it done.
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7236733)")
    context.configure(connection=connection, target_metadata=metadata)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
