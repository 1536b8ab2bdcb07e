"""The duties of a worker's parent, each in its thread, while what one of them needs is away."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from celery.worker import state
from prometheus_client import REGISTRY
from sqlalchemy import update

from core import logs
from core.errors import ConfigurationError
from core.jobs import database
from core.jobs.keys import ApiKeys
from core.jobs.tables import Job
from tests.fakes import MemoryBlobs
from tests.worker.bench import LOCK, Bench
from worker import app
from worker.sweeper import Sweeper


def seen(thing: Callable[[], bool]) -> bool:
    """Whether it comes to be; patient, because the machine may be busy."""
    deadline = time.monotonic() + 60
    while not thing() and time.monotonic() < deadline:
        time.sleep(0.01)
    return thing()


def test_a_parent_that_cannot_do_its_duties_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "should_stop", None)
    monkeypatch.setattr(app, "connect_context", unready)
    app._sweep()
    assert state.should_stop == os.EX_CONFIG


def test_a_process_without_networks_takes_no_jobs(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    told: list[tuple[int, int]] = []
    monkeypatch.setattr("worker.engine.networks", unready)
    monkeypatch.setattr("core.metrics.serve", lambda *_: None)
    monkeypatch.setattr("worker.logs.configure", lambda _: None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(os, "kill", lambda *of: told.append(of))
    with pytest.raises(SystemExit) as ended:  # Celery catches all that is no SystemExit, and goes on
        app._warm()
    assert ended.value.code == os.EX_CONFIG
    assert told == [(os.getppid(), app.UNFIT)]
    assert "no such bundle" in "".join(capfd.readouterr())


def unready(*_: object) -> None:
    raise ConfigurationError("no such bundle")


def test_a_log_on_a_full_disk_ends_no_duty() -> None:
    rounds: list[int] = []

    def fail() -> None:
        rounds.append(1)
        raise RuntimeError

    with Path("/dev/full").open("w", buffering=1) as full:
        logs.configure("INFO", full)
        sweeper = Sweeper("failing", fail, 0.01)
        sweeper.start()
        try:
            assert seen(lambda: len(rounds) > 2)
            assert REGISTRY.get_sample_value("sider_sweeps_failed_total", {"sweeper": "failing"}) >= 2
        finally:
            sweeper.stop()
            sweeper.join()
            logs.configure("INFO")
            with suppress(OSError):
                full.close()


def test_a_duty_that_fails_is_told_without_the_errors_text(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        sweeper.stop()
        raise RuntimeError("pixel 255 of customer Smith")

    sweeper = Sweeper("failing", fail, 0)
    sweeper.run()
    logged = "".join(capfd.readouterr())
    assert "RuntimeError" in logged
    assert "Smith" not in logged


@pytest.mark.parametrize("away", ["photos and keys", "audit"])
def test_a_lost_store_holds_up_no_other_duty(bench: Bench, monkeypatch: pytest.MonkeyPatch, away: str) -> None:
    context, sent, heads = bench.under(orphan_seconds=0).context, list[str](), bench.context.heads.store
    assert isinstance(heads, MemoryBlobs)
    ApiKeys(context.jobs.engine).issue("bank", ("protect",))
    context.shelf.put_secret("bank", "job_lost", LOCK)
    monkeypatch.setattr(app, "publish", sent.append)
    monkeypatch.setattr(app, "queue_is_empty", lambda: False)
    lost = [heads] if away == "audit" else [bench.photos, bench.keys]
    for store in lost:
        store.down = True
    with context.jobs.engine.begin() as connection:
        connection.execute(update(Job).values(created_at=database.now() - timedelta(seconds=60)))
    sweepers = app.sweepers(context, seconds=0.01)
    for sweeper in sweepers:
        sweeper.start()
    try:
        assert seen(lambda: sent == [bench.job_id])
        if away == "audit":
            assert seen(lambda: "bank/secrets/job_lost" not in bench.keys.objects)
        else:
            assert seen(lambda: bool(heads.objects))
        for store in lost:
            store.down = False
        assert seen(lambda: bool(heads.objects) and "bank/secrets/job_lost" not in bench.keys.objects)
        assert all(sweeper.is_alive() for sweeper in sweepers)
    finally:
        for sweeper in sweepers:
            sweeper.stop()
            sweeper.join()
