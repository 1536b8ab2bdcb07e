"""Connections and migrations. SQLite runs in WAL mode; PostgreSQL needs nothing special."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.exc import InterfaceError, OperationalError

from core import metrics

# libpq's, which would wait for minutes or for ever: a server that is cut off must hold no thread for longer than that
# (seconds; tcp_user_timeout in milliseconds). What the URL says comes first.
PATIENCE = {
    "connect_timeout": 5, "keepalives": 1, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}  # fmt: skip

logger = logging.getLogger(__name__)  # not structlog's: on the command line it would write into the answer


def connect(url: str) -> Engine:
    """An engine for `url`, for many threads of one process."""
    parsed = make_url(url)
    sqlite = parsed.get_backend_name() == "sqlite"
    waits = {"timeout": 15} if sqlite else {name: n for name, n in PATIENCE.items() if name not in parsed.query}
    engine = create_engine(url, connect_args=waits, pool_pre_ping=not sqlite)
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
    """Bring the database to the newest schema; one of a later release stays as it is.

    After a step back to this release it must still be possible to revoke a key or to check the audit log.
    """
    config = configuration(url)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    engine = connect(url)
    with engine.connect() as connection:
        unknown = set(MigrationContext.configure(connection).get_current_heads()) - known
    engine.dispose()
    if unknown:
        logger.warning("the database has the schema of a later release, %s: it is left as it is", ", ".join(unknown))
    else:
        command.upgrade(config, "head")


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
