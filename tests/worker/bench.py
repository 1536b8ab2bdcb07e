"""A worker with one job on its bench, and what may befall the job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from sqlalchemy import update

from core.jobs import database
from core.jobs.tables import Job
from core.vault.passwords import KdfCost, lock
from tests.fakes import LightEngine, MemoryBlobs
from worker import tasks
from worker.context import Context

LOCK = lock("correct horse", KdfCost(1, 64, 1))


@dataclass
class Bench:
    """A worker's context with one queued job."""

    context: Context
    job_id: str
    photos: MemoryBlobs
    keys: MemoryBlobs

    def run(self, before: Callable[[], None] = lambda: None) -> Job:
        tasks.run(self.job_id, replace(self.context, engine=LightEngine(before)))
        return self.context.jobs.get(self.job_id)

    def under(self, **settings: Any) -> Bench:
        """The same with other settings."""
        changed = self.context.settings.model_copy(update=settings)
        return replace(self, context=replace(self.context, settings=changed))


def failing(error: Exception) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


def overtaken(bench: Bench) -> None:
    """The lease runs out and another attempt begins."""
    lapsed(bench)
    bench.context.jobs.requeue_lapsed()
    assert bench.context.jobs.claim(bench.job_id, 60) is not None


def lapsed(bench: Bench) -> None:
    with bench.context.jobs.engine.begin() as connection:
        connection.execute(update(Job).values(lease_until=database.now() - timedelta(seconds=1)))


def long_ago(bench: Bench) -> None:
    """The job ended before the reaper's grace."""
    with bench.context.jobs.engine.begin() as connection:
        connection.execute(update(Job).values(finished_at=database.now() - timedelta(hours=1)))


def cancelled(bench: Bench) -> None:
    bench.context.jobs.cancel(bench.job_id)


def late(bench: Bench) -> None:
    with bench.context.jobs.engine.begin() as connection:
        connection.execute(update(Job).values(expires_at=database.now()))
