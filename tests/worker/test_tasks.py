"""A job's way through a worker when things go wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from core.errors import ConfigurationError, NoFaceFound, Unavailable
from core.jobs import database
from core.jobs.audit import Audit, Entry
from core.jobs.heads import Heads
from core.jobs.photos import Photos
from core.jobs.repository import Jobs, new_id
from core.jobs.states import State
from core.jobs.tables import Job, Photo
from core.settings import Settings
from core.vault.keyring import Keyring
from core.vault.passwords import KdfCost, lock
from core.vault.shelf import Shelf
from tests.fakes import LightEngine, MemoryBlobs, picture
from worker import tasks
from worker.context import Context
from worker.reaper import Reaper


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
    settings = Settings(database_url=f"sqlite:///{tmp_path / 's.db'}", max_attempts=2)
    database.upgrade(settings.database_url)
    engine = database.connect(settings.database_url)
    photos, keys = MemoryBlobs(), MemoryBlobs()
    shelf = Shelf(photos, keys, Keyring.open_or_create(tmp_path / "k.json"))
    heads = Heads(Audit(engine), MemoryBlobs(), shelf.keyring, settings.audit_head_seconds)
    context = Context(settings, Jobs(engine), Photos(engine), shelf, LightEngine(), heads)
    job_id, photo_id, now = new_id("job"), new_id("pho"), database.now()
    shelf.put_upload("bank", job_id, picture().to_png())
    shelf.put_secret("bank", job_id, lock("correct horse", KdfCost(1, 64, 1)))
    request = {"method": "sider", "preset": "standard", "variants": 1, "seed": 1, "faces": "all"}
    job = Job(id=job_id, tenant="bank", kind="protect", state=State.queued, photo_id=photo_id, request=request,
              attempt=0, step="queued", progress=0.0, created_at=now)  # fmt: skip
    kept = Photo(id=photo_id, tenant="bank", method="sider", preset="standard", variants=1, created_at=now)
    context.jobs.add(job, kept)
    yield Bench(context, job_id, photos, keys)
    engine.dispose()


def failing(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


def test_success_keeps_the_key_and_drops_upload_and_secret(bench: Bench) -> None:
    job = bench.run()
    assert job.state == State.succeeded
    assert set(bench.photos.objects) == {f"bank/protected/{job.photo_id}/v1.png"}
    assert set(bench.keys.objects) == {f"bank/restoration/{job.photo_id}"}


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
    assert bench.run().state == State.succeeded


def test_but_not_for_ever(bench: Bench) -> None:
    for _ in range(2):
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
    bench.context.jobs.requeue_expired(max_attempts=9)
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


def test_a_photo_erased_meanwhile_leaves_nothing(bench: Bench) -> None:
    photo_id = bench.context.jobs.get(bench.job_id).photo_id
    job = bench.run(lambda: bench.context.photos.mark_erased(photo_id, Entry("erase", "succeeded", "key:1")))
    assert (job.state, job.problem and job.problem["code"]) == (State.failed, "not_found")
    assert not bench.photos.objects
    assert not bench.keys.objects


def test_the_reaper_ends_a_job_that_kills_its_workers(bench: Bench) -> None:
    reaper = Reaper(bench.context, lambda job_id: None)
    for attempt in (1, 2):  # max_attempts
        assert bench.context.jobs.claim(bench.job_id, 60) is not None, attempt
        lapsed(bench)
        reaper.sweep()
    job = bench.context.jobs.get(bench.job_id)
    assert (job.state, job.problem and job.problem["code"]) == (State.failed, "poisoned")
    assert not bench.photos.objects
    assert not bench.keys.objects


def test_progress_never_goes_back(bench: Bench) -> None:
    heart = tasks.Heart(bench.context, bench.context.jobs.get(bench.job_id))
    seen = []
    steps = [("align", 0.0), ("protect", 0.0), ("optimise", 0.0), ("optimise", 1.0), ("paste", 0.0), ("measure", 0.0)]
    for step, fraction in [*steps, ("done", 1.0), ("a step of a later method", 0.0)]:
        heart.beat(step, fraction)
        seen.append(heart.progress)
    assert seen == sorted(seen)
    assert seen[-1] < 1


def test_the_reaper_publishes_what_was_never_sent(bench: Bench) -> None:
    sent: list[str] = []
    reaper = Reaper(bench.context, sent.append)
    with bench.context.jobs.engine.begin() as connection:
        connection.execute(update(Job).values(created_at=database.now() - timedelta(seconds=60)))
    reaper.sweep()
    reaper.sweep()
    assert sent == [bench.job_id]
