"""Connections and migrations. SQLite runs in WAL mode; PostgreSQL needs nothing special."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.exc import InterfaceError, OperationalError

from core import metrics


def connect(url: str) -> Engine:
    """An engine for `url`, for many threads of one process."""
    sqlite = make_url(url).get_backend_name() == "sqlite"
    engine = create_engine(url, connect_args={"timeout": 15}) if sqlite else create_engine(url, pool_pre_ping=True)
    event.listen(engine, "handle_error", _count)
    if not sqlite:
        return engine

    @event.listens_for(engine, "connect")
    def pragmas(connection: Any, _: Any) -> None:
        # WAL: readers do not wait for the writer. FULL: a committed job survives power loss.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=15000"):
            connection.execute(f"PRAGMA {pragma}")

    return engine


def _count(context: ExceptionContext) -> None:
    """Count what is no answer; that a row was there already, for instance, is one."""
    if isinstance(context.sqlalchemy_exception, OperationalError | InterfaceError):
        operation = (context.statement or "connect").split(maxsplit=1)[0].lower()
        metrics.ERRORS.labels("database", operation).inc()


def upgrade(url: str) -> None:
    """Bring the database to the newest schema."""
    command.upgrade(configuration(url), "head")


def configuration(url: str) -> Config:
    """Alembic's, without a file."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    # A percent sign in a password would be read as an interpolation.
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def now() -> datetime:
    """The time, UTC."""
    return datetime.now(UTC)
