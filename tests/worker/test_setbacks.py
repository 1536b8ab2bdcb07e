"""How often a job is tried, whatever else interrupts it."""

from __future__ import annotations

from core.errors import Unavailable
from core.jobs.retries import PAUSES, Fault
from core.jobs.states import State
from tests.worker.bench import Bench, failing, lapsed


def test_workers_that_leave_use_up_no_try_of_a_lost_store(bench: Bench) -> None:
    """A job may be handed back by every worker of a rolling restart, and its store may be away after that."""
    jobs = bench.context.jobs
    for attempt in range(1, len(PAUSES[Fault.transient]) + 2):
        jobs.claim(bench.job_id, 60)
        jobs.release(bench.job_id, attempt)
    away = failing(Unavailable("away", code="store_unavailable"))
    for setbacks in range(1, len(PAUSES[Fault.transient]) + 1):
        job = bench.run(away)
        assert (job.state, job.setbacks) == (State.queued, setbacks)
    assert bench.run(away).state == State.failed


def test_nor_do_workers_that_are_lost(bench: Bench) -> None:
    jobs = bench.context.jobs
    jobs.claim(bench.job_id, 60)
    lapsed(bench)
    jobs.requeue_lapsed()
    job = bench.run(failing(Unavailable("away", code="store_unavailable")))
    assert (job.state, job.crashes, job.setbacks) == (State.queued, 1, 1)
