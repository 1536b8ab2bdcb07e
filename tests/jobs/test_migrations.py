"""The schema, up and down."""

from __future__ import annotations

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect

from core.jobs import database
from core.jobs.tables import Base


def test_up_makes_exactly_the_tables_of_the_code_and_down_leaves_nothing(url: str) -> None:
    database.upgrade(url)
    command.downgrade(database.configuration(url), "base")
    engine = database.connect(url)
    assert inspect(engine).get_table_names() == ["alembic_version"]
    database.upgrade(url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()
