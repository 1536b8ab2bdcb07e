"""Every part of the running service fails while clients use it; then an auditor looks for a broken promise.

Each accepted job ends exactly once, in success or failed for a reason; every photo comes back bit for bit; nothing
is left in the store that should not be. `make test-faults`, with fewer jobs: `make test-faults JOBS=200`.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import redis
from sqlalchemy import bindparam, select, update

from benchmarks import report
from core.jobs import database
from core.jobs.message import HEADER, VERSION, message
from core.jobs.states import State
from core.jobs.tables import Job
from tests.faults.field import Field
from tests.faults.proxy import Mode
from tests.faults.stack import LEASE_SECONDS, fill

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]
AWAY_SECONDS = 3.0  # a part that was killed


def api_killed(field: Field) -> None:
    _killed(field, "api")


def worker_killed(field: Field) -> None:
    """Parent and child, in the middle of a job; with the parent go its sweepers."""
    field.await_running()
    _killed(field, "worker")


def job_process_killed(field: Field) -> None:
    field.await_running()
    os.kill(field.child_of(random.choice(field.stack.workers)), signal.SIGKILL)


def broker_killed(field: Field) -> None:
    _killed(field, "valkey")


def store_killed(field: Field) -> None:
    _killed(field, "seaweedfs")


def database_killed(field: Field) -> None:
    if field.stack.database is None:
        pytest.skip("SQLite is no server")
    field.stack.database.kill()
    time.sleep(AWAY_SECONDS)
    field.stack.database.start()


def rolling_restart(field: Field) -> None:
    """TERM to one part after the other, as an upgrade does."""
    for part in (*field.stack.workers, field.stack.part("api")):
        process = part.process
        field.stack.restart(part)
        assert process
        assert process.returncode in (0, -signal.SIGTERM), f"{part.name} did not stop in time"


def broker_wiped(field: Field) -> None:
    client = redis.Redis.from_url(field.stack.broker_url)
    client.flushall()
    client.close()


def broker_frozen(field: Field) -> None:
    _frozen(field.stack.part("valkey").process.pid, 10)  # type: ignore[union-attr]


def store_slow(field: Field) -> None:
    _proxied(field, Mode.slow, 15)


def store_refuses(field: Field) -> None:
    _proxied(field, Mode.refuse, 15)


def store_cuts(field: Field) -> None:
    _proxied(field, Mode.cut, 15)


def database_locked(field: Field) -> None:
    """For longer than anybody waits for it."""
    statements = {
        "sqlite": "BEGIN EXCLUSIVE",
        "postgresql": "LOCK TABLE jobs, photos, receipts IN ACCESS EXCLUSIVE MODE",
    }
    connection = field.engine.raw_connection()
    try:
        connection.cursor().execute(statements[field.engine.dialect.name])
        time.sleep(20)
        connection.rollback()
    finally:
        connection.close()


def disk_full(field: Field) -> None:
    """Of queue, store and, where it is a file, job table."""
    if field.disk is None:
        pytest.skip("this machine lets us mount no small disk (only root may)")
    filler = fill(field.disk)
    try:
        time.sleep(10)
    finally:
        filler.unlink()
    # As an operator must: after one write without room SeaweedFS's LevelDB refuses all others until it is reopened.
    field.stack.restart(field.stack.part("seaweedfs"))


def duplicates(field: Field) -> None:
    """Every message again, three times: of jobs that wait, run or have ended."""
    for job in field.jobs.page(None, None, 300) * 3:
        field.broker.publish(job.id)


def clock_ahead(field: Field) -> None:
    _shifted(field, "+90s")


def clock_behind(field: Field) -> None:
    _shifted(field, "-90s")


def leases_lapse(field: Field) -> None:
    """As if the clock of the database jumped: every worker is overtaken at once."""
    for _ in range(20):
        with field.engine.begin() as connection:
            running = update(Job).where(Job.state == State.running)
            connection.execute(running.values(lease_until=database.now() - timedelta(hours=1)))
        time.sleep(0.5)


def straggler(field: Field) -> None:
    """A worker sleeps beyond its lease, wakes up and goes on writing."""
    field.await_running()
    for part in field.stack.workers:
        _frozen(field.child_of(part), LEASE_SECONDS + 4)


def newer_release(field: Field) -> None:
    """Jobs and messages that these workers do not know wait for those that do."""
    with field.engine.begin() as connection:
        queued = select(Job.id).where(Job.state == State.queued)
        ids = list(connection.execute(queued).scalars())
        of_these = update(Job).where(Job.id.in_(bindparam("ids", ids, expanding=True)))
        connection.execute(of_these.where(Job.state == State.queued).values(version=VERSION + 1))
    for job_id in ids:
        field.broker._app.send_task(**message(job_id) | {"headers": {HEADER: VERSION + 1}})  # type: ignore[attr-defined]
    time.sleep(15)
    with field.engine.begin() as connection:
        states = connection.execute(select(Job.state, Job.attempt).where(Job.version > VERSION)).all()
        assert all(row.state in (State.queued, State.cancelled) for row in states), states
        connection.execute(update(Job).values(version=VERSION))


FAULTS: list[Callable[[Field], None]] = [
    api_killed, worker_killed, job_process_killed, broker_killed, store_killed, database_killed, rolling_restart,
    broker_wiped, broker_frozen, store_slow, store_refuses, store_cuts, database_locked, disk_full, duplicates,
    clock_ahead, clock_behind, leases_lapse, straggler, newer_release,
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_jobs_flow_again_after(field: Field, fault: Callable[[Field], None]) -> None:
    field.await_jobs(field.wanted * (FAULTS.index(fault) + 1) // (len(FAULTS) + 1))
    began, in_flight = time.monotonic(), field.jobs.depth()
    fault(field)
    field.note(fault.__name__, began, in_flight)


def test_no_promise_was_broken(field: Field) -> None:
    field.await_jobs(field.wanted)
    field.end()
    violations = list(field.auditor().violations())
    name = field.engine.dialect.name
    report.put(f"faults-{name}", f"Faults on {name}: `make test-faults JOBS={field.wanted}`", field.report(violations))
    assert violations == []


def _killed(field: Field, name: str) -> None:
    part = field.stack.part(name)
    field.kill(part)
    time.sleep(AWAY_SECONDS)
    field.stack.restart(part)


def _frozen(pid: int, seconds: float) -> None:
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        os.kill(pid, signal.SIGCONT)


def _proxied(field: Field, mode: Mode, seconds: float) -> None:
    field.stack.proxy.mode = mode
    time.sleep(seconds)
    field.stack.proxy.mode = Mode.through


def _shifted(field: Field, offset: str) -> None:
    """One worker has another time than everybody else."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        pytest.skip("no libfaketime on this machine (Debian: apt-get install libfaketime)")
    worker = field.stack.part("worker2")
    ours = worker.env
    worker.env = ours | {"LD_PRELOAD": str(library), "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    try:
        field.stack.restart(worker)
        time.sleep(15)
    finally:
        worker.env = ours
        field.stack.restart(worker)
