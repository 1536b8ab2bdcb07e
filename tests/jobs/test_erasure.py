"""What the job table keeps of an erased photo: that there was one, and nothing of what it showed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from core.jobs import database
from core.jobs.audit import Audit, Entry
from core.jobs.erasure import Eraser
from core.jobs.photos import Photos
from core.jobs.repository import Jobs
from core.jobs.states import State
from core.jobs.tables import Output, Photo, made_by
from core.vault.custody import Custody
from core.vault.keyring import Keyring
from core.vault.shelf import Shelf
from tests.fakes import MemoryBlobs
from tests.jobs.rows import add, age

RESULT = {"report": {"held": True}, "fingerprints": ["a" * 64], "sha256": "b" * 64}
MISSED = {"code": "promise_not_met", "message": "missed", "details": {"report": {"held": False}}}
KEPT = {"report": {"held": True}}


def erase(engine: Engine, photo_id: str) -> None:
    Photos(engine).mark_erased(photo_id, Entry("erase", "succeeded", "key:1", "bank", photo_id))


def finish(jobs: Jobs, job_id: str) -> None:
    jobs.finish(job_id, 1, RESULT, KEPT)


def fail(jobs: Jobs, job_id: str) -> None:
    jobs.fail(job_id, 1, MISSED)


ENDS = pytest.mark.parametrize(
    ("end", "state", "problem"),
    [(finish, State.succeeded, None), (fail, State.failed, {**MISSED, "details": {}})],
    ids=["succeeded", "failed"],
)


@ENDS
@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
def test_nothing_that_was_measured_outlives_a_photo(
    engine: Engine, end: Callable[[Jobs, str], None], state: State, problem: dict[str, Any] | None, late: bool
) -> None:
    """Whether the job ends before or after the erasure."""
    jobs, other = Jobs(engine), add(Jobs(engine))
    job_id = add(jobs)
    for claimed in (job_id, other):
        jobs.claim(claimed, 60)
    end(jobs, other)
    steps: list[Callable[[], None]] = [
        lambda: end(jobs, job_id), lambda: erase(engine, jobs.get(job_id).photo_id),
    ]  # fmt: skip
    for step in reversed(steps) if late else steps:
        step()
    job = jobs.get(job_id)
    assert (job.state, job.result, job.problem) == (state, None, problem)
    with engine.connect() as connection:
        report = connection.scalar(select(Photo.report).where(Photo.id == job.photo_id))
        outputs = select(func.count()).select_from(Output).where(Output.photo_id == job.photo_id)
        assert (report, connection.scalar(outputs)) == (None, 0)
    told = Audit(engine).latest(9, subject=job.photo_id)
    assert [e.details.get("fingerprints") for e in told if e.outcome == State.succeeded and e.event == "protect"] == (
        ["a" * 64] if end is finish else []
    )
    # Another photo's job is as it was.
    assert (jobs.get(other).result, jobs.get(other).problem) == ((RESULT, None) if end is finish else (None, MISSED))


def test_of_an_end_and_an_erasure_at_once_neither_is_lost(engine: Engine) -> None:
    jobs = Jobs(engine)
    for _ in range(20):
        job_id = add(jobs)
        photo_id = jobs.get(job_id).photo_id
        jobs.claim(job_id, 60)
        with ThreadPoolExecutor(3) as pool:
            done = [pool.submit(finish, jobs, job_id), *(pool.submit(erase, engine, photo_id) for _ in range(2))]
        for future in done:
            future.result()
        assert (jobs.get(job_id).state, jobs.get(job_id).result) == (State.succeeded, None)
        assert Photos(engine).made(RESULT["fingerprints"], None) == []
        assert [e.event for e in Audit(engine).latest(9, subject=photo_id)].count("erase") == 1


def test_what_a_running_job_has_stored_is_gone_at_once(engine: Engine, tmp_path: Path) -> None:
    jobs, photos = Jobs(engine), Photos(engine)
    store, keys = MemoryBlobs(), MemoryBlobs()
    shelf = Shelf(store, keys, Keyring.open_or_create(tmp_path / "k.json"))
    photo = photos.get(jobs.get(add(jobs)).photo_id, "bank")
    age(engine, state=State.running, attempt=2)
    for run in (1, 2):
        shelf.put_restoration("bank", made_by(photo.id, run), b"pixels", None, Custody.SERVER)
        shelf.put_protected("bank", made_by(photo.id, run), 1, b"picture")
    Eraser(jobs, photos, shelf, Audit(engine)).erase(photo, "key:1", {})
    assert not (store.objects | keys.objects)


def test_an_erased_photo_is_in_no_others_way(engine: Engine) -> None:
    """Retention takes so many a round: of these none may be done already."""
    jobs = Jobs(engine)
    first, second = (jobs.get(add(jobs)).photo_id for _ in range(2))
    erase(engine, first)
    assert [photo.id for photo in Photos(engine).made_before(database.now(), 1)] == [second]
