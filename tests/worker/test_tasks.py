"""A job's way through a worker when things go wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from core.errors import ConfigurationError, NoFaceFound, Unavailable
from core.jobs import database
from core.jobs.audit import Audit, Entry
from core.jobs.heads import Heads
from core.jobs.keys import ApiKeys
from core.jobs.message import VERSION
from core.jobs.photos import Photos
from core.jobs.receipts import Receipts
from core.jobs.repository import Jobs, new_id
from core.jobs.retries import PAUSES, Fault
from core.jobs.states import State
from core.jobs.tables import Job, Photo
from core.jobs.webhooks import Webhooks
from core.pipeline import Outcome
from core.settings import Settings
from core.vault.keyring import Keyring
from core.vault.passwords import KdfCost, lock
from core.vault.restoration import Restoration
from core.vault.shelf import Shelf
from tests.fakes import LightEngine, MemoryBlobs, picture
from worker import tasks
from worker.context import Context
from worker.orphans import Orphans
from worker.reaper import LOST_SECONDS, Reaper

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


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    settings = Settings(database_url=f"sqlite:///{tmp_path / 's.db'}")
    database.upgrade(settings.database_url)
    engine = database.connect(settings.database_url)
    photos, keys = MemoryBlobs(), MemoryBlobs()
    shelf = Shelf(photos, keys, Keyring.open_or_create(tmp_path / "k.json"))
    heads = Heads(Audit(engine), MemoryBlobs(), shelf.keyring, settings.audit_head_seconds)
    context = Context(
        settings, Jobs(engine), Photos(engine), Receipts(engine), Webhooks(engine), shelf, LightEngine(), heads
    )
    job_id, photo_id, now = new_id("job"), new_id("pho"), database.now()
    shelf.put_upload("bank", job_id, picture().to_png())
    shelf.put_secret("bank", job_id, LOCK)
    request = {"method": "sider", "preset": "standard", "variants": 1, "seed": 1, "faces": "all"}
    job = Job(id=job_id, tenant="bank", kind="protect", state=State.queued, photo_id=photo_id, request=request,
              attempt=0, step="queued", progress=0.0, created_at=now)  # fmt: skip
    kept = Photo(id=photo_id, tenant="bank", method="sider", preset="standard", variants=1, created_at=now)
    context.jobs.add([job], [kept])
    yield Bench(context, job_id, photos, keys)
    engine.dispose()


def failing(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


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


def test_a_lost_store_is_tried_again_with_everything_still_there(bench: Bench) -> None:
    job = bench.run(failing(Unavailable("away", code="store_unavailable")))
    assert (job.state, job.attempt, job.published_at) == (State.queued, 1, None)
    assert bench.context.jobs.unpublished(older_than_seconds=0) == []  # after a pause
    assert bench.run().state == State.succeeded


def test_but_not_for_ever(bench: Bench) -> None:
    for _ in range(len(PAUSES[Fault.transient]) + 1):
        assert bench.context.jobs.get(bench.job_id).state == State.queued
        job = bench.run(failing(Unavailable("away", code="store_unavailable")))
    assert job.state == State.failed
    assert job.problem is not None
    assert job.problem["code"] == "store_unavailable"
    assert not bench.photos.objects
    assert not bench.keys.objects


def test_a_worker_set_up_wrongly_tells_the_operator_not_the_caller(
    bench: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    job = bench.run(failing(ConfigurationError("/srv/bundle has no manifest")))
    assert job.state == State.failed
    assert "/srv" not in str(job.problem)
    assert "/srv/bundle" in "".join(capfd.readouterr())


def test_an_unexpected_error_is_told_without_its_text(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    job = bench.run(failing(RuntimeError("pixel 255 of customer Smith")))
    assert job.state == State.failed
    assert "Smith" not in str(job.problem)
    logged = "".join(capfd.readouterr())
    assert "Smith" not in logged
    assert "RuntimeError" in logged


def overtaken(bench: Bench) -> None:
    """The lease runs out and another attempt begins."""
    lapsed(bench)
    bench.context.jobs.requeue_lapsed()
    assert bench.context.jobs.claim(bench.job_id, 60) is not None


def lapsed(bench: Bench) -> None:
    with bench.context.jobs.engine.begin() as connection:
        connection.execute(update(Job).values(lease_until=database.now() - timedelta(seconds=1)))


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


def test_the_reaper_ends_a_job_that_kills_its_workers(bench: Bench) -> None:
    reaper = Reaper(bench.context, lambda job_id: None)
    for _ in range(len(PAUSES[Fault.poison]) + 1):
        assert bench.context.jobs.claim(bench.job_id, 60) is not None
        lapsed(bench)
        reaper.sweep()
    job = bench.context.jobs.get(bench.job_id)
    assert (job.state, job.problem and job.problem["code"]) == (State.failed, "poisoned")
    assert bench.photos.objects  # its last worker might still be there
    long_ago(bench)
    reaper.sweep()
    assert not bench.photos.objects
    assert not bench.keys.objects


def long_ago(bench: Bench) -> None:
    """The job ended before the reaper's grace."""
    with bench.context.jobs.engine.begin() as connection:
        connection.execute(update(Job).values(finished_at=database.now() - timedelta(hours=1)))


def cancelled(bench: Bench) -> None:
    bench.context.jobs.cancel(bench.job_id)


def late(bench: Bench) -> None:
    with bench.context.jobs.engine.begin() as connection:
        connection.execute(update(Job).values(expires_at=database.now()))


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


def test_what_could_not_be_cleared_is_cleared_later(bench: Bench) -> None:
    def lose_the_store() -> None:
        bench.keys.down = bench.photos.down = True
        raise NoFaceFound("no face")

    job = bench.run(lose_the_store)
    assert (job.state, job.cleared_at) == (State.failed, None)
    bench.keys.down = bench.photos.down = False
    long_ago(bench)
    Reaper(bench.context, lambda job_id: None).sweep()
    assert bench.context.jobs.get(bench.job_id).cleared_at is not None
    assert not bench.photos.objects
    assert not bench.keys.objects


def test_the_reaper_waits_for_a_lost_store_once_a_round(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        job = Job(id=f"job_{number}", tenant="bank", kind="protect", state=State.queued, request={"variants": 1},
                  photo_id=bench.context.jobs.get(bench.job_id).photo_id, created_at=database.now())  # fmt: skip
        bench.context.jobs.add([job])
        bench.context.jobs.cancel(f"job_{number}")
    bench.keys.down = bench.photos.down = True
    Reaper(bench.context, lambda job_id: None).sweep()
    assert "".join(capfd.readouterr()).count("clearing_postponed") == 1
    bench.keys.down = bench.photos.down = False
    Reaper(bench.context, lambda job_id: None).sweep()
    assert bench.context.jobs.uncleared(grace_seconds=0) == []


def test_a_late_job_in_the_queue_is_ended_and_cleared_by_the_reaper(bench: Bench) -> None:
    late(bench)
    assert bench.run().state == State.queued  # not even begun
    Reaper(bench.context, lambda job_id: None).sweep()
    job = bench.context.jobs.get(bench.job_id)
    assert (job.state, job.problem and job.problem["code"]) == (State.expired, "job_expired")
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
    jobs.mark_published(bench.job_id)
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
    steps = [("align", 0.0), ("protect", 0.0), ("optimise", 0.0), ("optimise", 1.0), ("paste", 0.0), ("measure", 0.0)]
    for step, fraction in [*steps, ("done", 1.0), ("a step of a later method", 0.0)]:
        heart.beat(step, fraction)
        seen.append(heart.progress)
    assert seen == sorted(seen)
    assert seen[-1] < 1


def test_an_empty_queue_has_lost_what_was_sent_a_while_ago(bench: Bench) -> None:
    sent: list[str] = []
    with bench.context.jobs.engine.begin() as connection:
        connection.execute(update(Job).values(created_at=database.now() - timedelta(seconds=60)))
        connection.execute(update(Job).values(published_at=database.now() - timedelta(seconds=LOST_SECONDS + 1)))
    for empty, expected in ((False, []), (True, [bench.job_id])):
        Reaper(bench.context, sent.append, lambda empty=empty: empty).sweep()  # type: ignore[misc]
        assert sent == expected


def test_what_no_job_was_made_for_is_deleted_in_time(bench: Bench) -> None:
    ApiKeys(bench.context.jobs.engine).issue("bank", ("protect",))
    shelf = bench.context.shelf
    shelf.put_upload("bank", "job_lost", b"photo")
    shelf.put_secret("bank", "job_lost", LOCK)
    bench.run()
    made = set(bench.photos.objects) | set(bench.keys.objects)
    Orphans(bench.context).sweep()
    assert set(bench.photos.objects) | set(bench.keys.objects) == made  # its request may be under way
    hasty = bench.context.settings.model_copy(update={"orphan_seconds": 0})
    Orphans(replace(bench.context, settings=hasty)).sweep()
    assert made - set(bench.photos.objects) - set(bench.keys.objects) == {
        "bank/incoming/job_lost",
        "bank/secrets/job_lost",
    }


def test_what_waits_for_its_job_is_no_orphan(bench: Bench) -> None:
    ApiKeys(bench.context.jobs.engine).issue("bank", ("protect",))
    hasty = bench.context.settings.model_copy(update={"orphan_seconds": 0})
    Orphans(replace(bench.context, settings=hasty)).sweep()
    assert bench.run().state == State.succeeded


def test_the_reaper_publishes_what_was_never_sent(bench: Bench) -> None:
    sent: list[str] = []
    reaper = Reaper(bench.context, sent.append)
    with bench.context.jobs.engine.begin() as connection:
        connection.execute(update(Job).values(created_at=database.now() - timedelta(seconds=60)))
    reaper.sweep()
    reaper.sweep()
    assert sent == [bench.job_id]
