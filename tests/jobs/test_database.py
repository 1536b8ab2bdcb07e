"""Connections: how long a silent server is waited for, and schemas of other releases."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import pytest
from alembic.migration import MigrationContext
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import OperationalError

from core.errors import NotFound
from core.jobs import database
from core.jobs.photos import Photos
from core.jobs.repository import Jobs

URL = "postgresql+psycopg://sider@127.0.0.1/sider"


class Stop(Exception):
    pass


def asked(url: str) -> dict[str, Any]:
    """What the driver is told to connect with."""
    engine, told = database.connect(url), {}

    @event.listens_for(engine, "do_connect")
    def look(*args: Any) -> None:
        told.update(args[3])
        raise Stop

    with pytest.raises(Stop):
        engine.connect()
    return told


def test_a_server_that_is_cut_off_is_not_waited_for_for_ever() -> None:
    assert database.PATIENCE.items() <= asked(URL).items()
    chosen = asked(f"{URL}?connect_timeout=60&keepalives=0")
    assert (chosen["connect_timeout"], chosen["keepalives"]) == ("60", "0")  # the operator's word is the last


def test_a_silent_server_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(database.PATIENCE, "connect_timeout", 2)  # libpq's least
    with socket.create_server(("127.0.0.1", 0)) as silent:
        engine = database.connect(f"postgresql+psycopg://sider@127.0.0.1:{silent.getsockname()[1]}/sider")
        begun = time.monotonic()
        with pytest.raises(OperationalError):
            engine.connect()
        assert time.monotonic() - begun < 10
        engine.dispose()


def test_a_later_schema_is_left_alone(url: str, caplog: pytest.LogCaptureFixture) -> None:
    database.upgrade(url)
    engine = database.connect(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.upgrade(url)
    with engine.connect() as connection:
        assert MigrationContext.configure(connection).get_current_heads() == ("9999",)
    engine.dispose()
    assert "9999" in caplog.text


def test_sqlite_promises_nothing_before_it_is_on_the_disk(tmp_path: Path) -> None:
    engine = database.connect(f"sqlite:///{tmp_path / 'jobs.db'}")
    with engine.connect() as connection:
        assert connection.scalar(text("PRAGMA synchronous")) == 2  # FULL
    engine.dispose()


@pytest.mark.parametrize("no_id", ["\0", "job_\0", "job_" + "0" * 60, "", "ä"])
def test_what_can_be_no_id_is_not_found(engine: Engine, no_id: str) -> None:
    jobs = Jobs(engine)
    for ask in (
        lambda: jobs.get(no_id),
        lambda: jobs.get(no_id, "bank"),
        lambda: jobs.of_batch(no_id, "bank"),
        lambda: Photos(engine).get(no_id, "bank"),
    ):
        with pytest.raises(NotFound):
            ask()


def test_a_cursor_that_can_be_no_id_is_not_found(engine: Engine) -> None:
    with pytest.raises(NotFound):
        Jobs(engine).page(None, "\0", 9)
