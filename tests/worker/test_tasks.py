"""A job's way through a worker when things go wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError

from core.errors import ConfigurationError, NoFaceFound, Unavailable
from core.jobs import database
from core.jobs.audit import Entry
from core.jobs.message import VERSION
from core.jobs.retries import PAUSES, Fault
from core.jobs.states import State
from core.jobs.tables import Job
from core.pipeline import Outcome
from core.vault.restoration import Restoration
from core.vault.shelf import Shelf
from tests.fakes import LightEngine, picture
from tests.worker.bench import LOCK, Bench, cancelled, failing, lapsed, late, long_ago, overtaken
from worker import tasks
from worker.engine import Unfit
from worker.reaper import Reaper


def test_success_keeps_the_key_and_drops_upload_and_secret(bench: Bench) -> None:
    job = bench.run()
    assert job.state == State.succeeded
    assert set(bench.photos.objects) == {f"bank/protected/{job.photo_id}.1/v1.png"}
    assert set(bench.keys.objects) == {f"bank/restoration/{job.photo_id}.1"}


def test_a_duplicate_message_does_nothing(bench: Bench) -> None:
    bench.run()
    before = dict(bench.photos.objects)
    assert bench.run(failing(RuntimeError("ran twice"))).attempt == 1
    assert bench.photos.objects == before


def test_a_photo_at_fault_fails_at_once(bench: Bench) -> None:
    job = bench.run(failing(NoFaceFound("no face")))
    assert (job.state, job.attempt) == (State.failed, 1)
    assert job.problem is not None
    assert job.problem["code"] == "no_face_found"
    assert not bench.photos.objects
    assert not bench.keys.objects


@pytest.mark.parametrize(
    "error", [Unavailable("away", code="store_unavailable"), MemoryError()], ids=["store", "memory"]
)
def test_a_part_that_was_lost_is_tried_again_with_everything_still_there(bench: Bench, error: Exception) -> None:
    job = bench.run(failing(error))
    assert (job.state, job.attempt, job.published_at) == (State.queued, 1, None)
    assert bench.context.jobs.unpublished(older_than_seconds=0) == []  # after a pause
    assert bench.run().state == State.succeeded


def test_but_not_for_ever(bench: Bench) -> None:
    away = failing(Unavailable("away", code="store_unavailable"))
    for pause in PAUSES[Fault.transient]:
        begun, job, ended = database.now(), bench.run(away), database.now()
        assert job.state == State.queued
        assert job.due_at
        assert begun <= job.due_at - timedelta(seconds=pause) <= ended
    job = bench.run(away)
    assert job.state == State.failed
    assert job.problem is not None
    assert job.problem["code"] == "store_unavailable"
    assert not bench.photos.objects
    assert not bench.keys.objects


def test_a_key_that_cannot_be_stored_leaves_no_picture(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It could never be restored."""
    monkeypatch.setattr(bench.keys, "put", failing(Unavailable("away", code="store_unavailable")))
    bench.run()
    assert set(bench.photos.objects) == {f"bank/incoming/{bench.job_id}"}


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ConfigurationError("/srv/keyring.json cannot be read"), "/srv/keyring.json cannot be read"),
        (Unfit("AcceleratorError"), "device_failed"),
    ],
    ids=["not configured", "device failed"],
)
def test_a_broken_worker_ends_and_its_job_is_done_by_another(
    bench: Bench, capfd: pytest.CaptureFixture[str], error: Exception, told: str
) -> None:
    """It would end every job in the queue otherwise, and delete what was uploaded."""
    with pytest.raises(Unfit):
        bench.run(failing(error))
    Reaper(bench.context, lambda job_id: None).sweep()  # at once, not when the lease has run out
    job = bench.context.jobs.get(bench.job_id)
    assert (job.state, job.attempt, job.crashes, job.problem) == (State.queued, 1, 1, None)
    assert told in "".join(capfd.readouterr())
    assert bench.run().state == State.succeeded


def test_but_a_photo_that_breaks_worker_after_worker_is_given_up(bench: Bench) -> None:
    for _ in range(len(PAUSES[Fault.poison]) + 1):
        with pytest.raises(Unfit):
            bench.run(failing(ConfigurationError("/srv/keyring.json cannot be read")))
        Reaper(bench.context, lambda job_id: None).sweep()
    job = bench.context.jobs.get(bench.job_id)
    assert (job.state, job.problem and job.problem["code"]) == (State.failed, "poisoned")
    assert "/srv" not in str(job.problem)
    long_ago(bench)
    Reaper(bench.context, lambda job_id: None).sweep()
    assert not bench.photos.objects


@pytest.mark.parametrize("end", [overtaken, cancelled])
def test_a_broken_worker_ends_though_its_job_is_not_its_own_any_more(
    bench: Bench, end: Callable[[Bench], None]
) -> None:
    def meanwhile() -> None:
        end(bench)
        raise Unfit("OutOfMemoryError")

    with pytest.raises(Unfit):
        bench.run(meanwhile)
    assert bench.context.jobs.get(bench.job_id).crashes == (end is overtaken)


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (RuntimeError("pixel 255 of customer Smith"), State.failed),
        (OperationalError("SELECT 'customer Smith'", {}, Exception()), State.running),
        (Unfit("pixel 255 of customer Smith"), State.running),
    ],
    ids=lambda of: type(of).__name__,
)
def test_an_unexpected_error_is_told_without_its_text(
    bench: Bench, capfd: pytest.CaptureFixture[str], error: Exception, state: State
) -> None:
    with suppress(Unfit):
        bench.run(failing(error))
    job = bench.context.jobs.get(bench.job_id)
    assert job.state == state
    assert "Smith" not in str(job.problem)
    logged = "".join(capfd.readouterr())
    assert "Smith" not in logged
    assert type(error).__name__ in logged


@pytest.mark.parametrize("error", [None, NoFaceFound("no face"), RuntimeError("?")])
def test_a_worker_that_lost_its_lease_changes_nothing(bench: Bench, error: Exception | None) -> None:
    before = dict(bench.photos.objects), dict(bench.keys.objects)

    def meanwhile() -> None:
        overtaken(bench)
        if error:
            raise error

    job = bench.run(meanwhile)
    assert (job.state, job.attempt) == (State.running, 2)
    # The second attempt still needs the upload and the secret, and its key is not overwritten by ours.
    assert (bench.photos.objects, bench.keys.objects) == before


def test_a_worker_that_wakes_after_another_has_succeeded_spoils_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It slept between its last look at the lease and its writes."""
    put, protected = Shelf.put_restoration, picture(seed=1)

    def asleep(self: Shelf, *words: Any) -> None:
        monkeypatch.setattr(Shelf, "put_restoration", put)
        lapsed(bench)
        bench.context.jobs.requeue_lapsed()
        engine = LightEngine()
        engine.protect = lambda *_: Outcome((protected,), Restoration.of(protected.pixels, [protected.pixels], []), {})  # type: ignore[assignment,method-assign]
        tasks.run(bench.job_id, replace(bench.context, engine=engine))
        put(self, *words)

    monkeypatch.setattr(Shelf, "put_restoration", asleep)
    job = bench.run()
    assert (job.state, job.attempt) == (State.succeeded, 2)
    photo = bench.context.photos.get(job.photo_id, "bank")
    assert set(bench.photos.objects) == {f"bank/protected/{photo.made}/v1.png"}
    assert set(bench.keys.objects) == {f"bank/restoration/{photo.made}"}
    packed = bench.context.shelf.get_restoration("bank", photo.made, LOCK.key)
    assert (Restoration.unpack(packed).apply(protected.pixels) == protected.pixels).all()


def test_a_photo_erased_meanwhile_leaves_nothing(bench: Bench) -> None:
    photo_id = bench.context.jobs.get(bench.job_id).photo_id
    job = bench.run(lambda: bench.context.photos.mark_erased(photo_id, Entry("erase", "succeeded", "key:1")))
    assert (job.state, job.problem and job.problem["code"]) == (State.failed, "not_found")
    assert not bench.photos.objects
    assert not bench.keys.objects


@pytest.mark.parametrize(("end", "state"), [(cancelled, State.cancelled), (late, State.expired)])
@pytest.mark.parametrize("error", [None, NoFaceFound("no face"), Unavailable("away")])
def test_a_running_job_that_is_cancelled_or_late_leaves_nothing(
    bench: Bench, end: Callable[[Bench], None], state: State, error: Exception | None
) -> None:
    def meanwhile() -> None:
        end(bench)
        if error:
            raise error

    bench.run(meanwhile)
    Reaper(bench.context, lambda job_id: None).sweep()  # ends what is late
    long_ago(bench)
    Reaper(bench.context, lambda job_id: None).sweep()
    job = bench.context.jobs.get(bench.job_id)
    assert (job.state, job.result) == (state, None)
    assert not bench.photos.objects
    assert not bench.keys.objects


def test_a_cancelled_worker_stops_at_its_next_beat(bench: Bench) -> None:
    beats: list[float] = []

    def work(_photo: object, _request: object, progress: Callable[[str, float], None]) -> None:
        bench.context.jobs.cancel(bench.job_id)
        while True:  # the pump looks at the row every second; the test's own limit ends this if it never does
            progress("optimise", 0.5)
            beats.append(0.5)

    engine = LightEngine()
    engine.protect = work  # type: ignore[assignment,method-assign]
    tasks.run(bench.job_id, replace(bench.context, engine=engine))
    assert beats
    assert not bench.photos.objects
    assert not bench.keys.objects


def test_a_worker_that_must_stop_hands_its_job_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "leaving", threading.Event())

    def work(_photo: object, _request: object, progress: Callable[[str, float], None]) -> None:
        tasks.leaving.set()
        while True:
            progress("optimise", 0.5)

    engine = LightEngine()
    engine.protect = work  # type: ignore[assignment,method-assign]
    tasks.run(bench.job_id, replace(bench.context, engine=engine))
    job = bench.context.jobs.get(bench.job_id)
    assert (job.state, job.attempt, job.crashes, job.published_at) == (State.queued, 1, 0, None)
    tasks.leaving.clear()
    assert bench.run().state == State.succeeded


@pytest.mark.parametrize(("of_job", "of_message"), [(VERSION + 1, VERSION), (VERSION, VERSION + 1)])
def test_what_a_newer_release_has_sent_is_left_to_its_workers(bench: Bench, of_job: int, of_message: int) -> None:
    jobs = bench.context.jobs
    with jobs.engine.begin() as connection:
        connection.execute(update(Job).values(version=of_job))
    jobs.publish(bench.job_id, lambda _: None)
    tasks.run(bench.job_id, bench.context, of_message)
    job = jobs.get(bench.job_id)
    assert (job.state, job.attempt, job.published_at) == (State.queued, 0, None)
    assert jobs.unpublished(older_than_seconds=0) == []  # not at once
    assert job.due_at is not None
    assert job.due_at > database.now()
    assert jobs.claim(bench.job_id, 60, known=VERSION + 1) is not None


def test_progress_never_goes_back(bench: Bench) -> None:
    heart = tasks.Heart(bench.context, bench.context.jobs.get(bench.job_id))
    seen = []
    a_try = [("protect", 0.0), ("optimise", 0.0), ("optimise", 1.0), ("paste", 0.0), ("measure", 0.0)]
    for step, fraction in [("align", 0.0), *a_try, *a_try, ("done", 1.0), ("a step of a later method", 0.0)]:
        heart.beat(step, fraction)
        seen.append(heart.progress)
    assert seen == sorted(seen)
    assert seen[-1] < 1
