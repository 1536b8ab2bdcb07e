"""Alembic's entry: online only, over the engine the service uses."""

from alembic import context

from core.jobs.database import connect
from core.jobs.tables import Base

url = context.config.get_main_option("sqlalchemy.url")
assert url is not None  # noqa: S101
engine = connect(url)
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
