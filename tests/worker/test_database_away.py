"""A worker whose job table does not answer for a moment."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import OperationalError

from core.jobs.states import State
from tests.worker.bench import Bench, failing, lapsed, long_ago
from worker import tasks
from worker.reaper import Reaper


@pytest.mark.parametrize("asked", ["core.jobs.repository.Jobs.heartbeat", "core.jobs.photos.Photos.get"])
def test_a_database_that_is_away_for_a_moment_ends_no_job(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    with monkeypatch.context() as lost:
        lost.setattr(asked, failing(OperationalError("SELECT", {}, Exception())))
        assert bench.run().state == State.running
    lapsed(bench)
    bench.context.jobs.requeue_lapsed()
    assert bench.run().state == State.succeeded


def test_a_job_that_cannot_be_noted_as_cleared_has_ended_all_the_same(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as lost:
        lost.setattr("core.jobs.repository.Jobs.mark_cleared", failing(OperationalError("UPDATE", {}, Exception())))
        assert bench.run().state == State.succeeded
    long_ago(bench)
    Reaper(bench.context, lambda job_id: None).sweep()
    assert bench.context.jobs.get(bench.job_id).cleared_at is not None


def test_a_missed_heartbeat_is_followed_by_the_next(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs, renew, beats = bench.context.jobs, tasks.Heart.renew, list[tasks.Heart]()

    def away_once(heart: tasks.Heart) -> None:
        beats.append(heart)
        if len(beats) == 1:
            raise OperationalError("UPDATE", {}, Exception())
        renew(heart)
        heart._stop.set()

    monkeypatch.setattr(tasks.Heart, "renew", away_once)
    job = jobs.claim(bench.job_id, 60)
    assert job
    tasks.Heart(bench.under(lease_seconds=0.01).context, job, step="optimise")._pump()
    assert jobs.get(bench.job_id).step == "optimise"
