"""Tries at once are counted one after the other, on both databases, and together where the password is the same."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import Engine, update
from sqlalchemy.orm import Session

from core.errors import RestoreDenied, TooMany
from core.jobs import guesses
from core.jobs.database import now
from core.jobs.repository import Jobs, new_id
from core.jobs.states import State
from core.jobs.tables import Job, Photo
from core.vault.custody import Custody
from tests.jobs.test_repository import add


def batch(jobs: Jobs, count: int, custody: Custody = Custody.SPLIT, batch_id: str | None = "bat_1") -> list[str]:
    """The photos of one request."""
    photos = [jobs.get(add(jobs, batch_id=batch_id)).photo_id for _ in range(count)]
    with jobs.engine.begin() as connection:
        connection.execute(update(Photo).where(Photo.id.in_(photos)).values(custody=custody))
    return photos


def restore(jobs: Jobs, photo_id: str, most: int = 4) -> str:
    """The restore of a photo, as it is accepted (TooMany)."""
    job_id = new_id("job")
    job = Job(
        id=job_id, tenant="bank", kind="restore", state=State.queued, photo_id=photo_id, request={},
        attempt=0, crashes=0, step="queued", progress=0.0, created_at=now(),
    )  # fmt: skip
    jobs.add([job], also=lambda session: guesses.check(session, photo_id, most))
    return job_id


def open_(jobs: Jobs, photo_id: str, most: int = 3) -> bool:
    """Whether a photo takes one more."""
    try:
        with Session(jobs.engine) as session:
            guesses.check(session, photo_id, most)
    except TooMany:
        return False
    return True


def fail(jobs: Jobs, photo_id: str, ago: timedelta = timedelta(0), code: str = RestoreDenied.default_code) -> None:
    """A restore that failed: its password was wrong, if nothing else is said."""
    job_id = restore(jobs, photo_id, 1000)
    jobs.claim(job_id, 60)
    jobs.fail(job_id, 1, {"code": code, "message": "no", "details": {}})
    with jobs.engine.begin() as connection:
        connection.execute(update(Job).where(Job.id == job_id).values(finished_at=now() - ago))


@pytest.mark.parametrize("count", [1, 3])
def test_of_many_tries_at_once_so_many_are_let_in(engine: Engine, count: int) -> None:
    jobs = Jobs(engine)
    photos = batch(jobs, count)

    def attempt(number: int) -> bool:
        try:
            restore(jobs, photos[number % count])
        except TooMany:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(24))) == 3


def test_the_photos_of_a_batch_take_wrong_passwords_together(engine: Engine) -> None:
    jobs = Jobs(engine)
    photos, others, alone = batch(jobs, 3), batch(jobs, 2, batch_id="bat_2"), batch(jobs, 2, batch_id=None)
    for photo_id in (photos[0], photos[0], photos[2]):
        assert all(open_(jobs, each) for each in photos)
        fail(jobs, photo_id)
    assert not any(open_(jobs, each) for each in photos)
    assert all(open_(jobs, each) for each in (*others, *alone))
    for _ in range(3):
        fail(jobs, alone[0])
    assert [open_(jobs, each) for each in (*others, *alone)] == [True, True, False, True]


def test_an_hour_after_a_wrong_password_a_batch_takes_another(engine: Engine) -> None:
    jobs = Jobs(engine)
    photos = batch(jobs, 2)
    for minutes in (50, 40, 30):
        fail(jobs, photos[0], timedelta(minutes=minutes))
    with pytest.raises(TooMany) as refused, Session(engine) as session:
        guesses.check(session, photos[1], 3)
    assert 590 < refused.value.details["retry_after"] <= 600
    with Session(engine) as session:
        guesses.check(session, photos[1], 4)


def test_what_failed_for_another_reason_is_no_wrong_password(engine: Engine) -> None:
    """A store that is away for an hour must not lock a photo's owner out for another."""
    jobs = Jobs(engine)
    [photo_id] = batch(jobs, 1)
    for _ in range(3):
        fail(jobs, photo_id, code="store_unavailable")
    assert open_(jobs, photo_id)


def test_photos_without_a_password_are_counted_each_by_itself(engine: Engine) -> None:
    """There is nothing to guess, and a batch is restored all at once."""
    jobs = Jobs(engine)
    photos = batch(jobs, 4, Custody.SERVER)
    for photo_id in photos:
        restore(jobs, photo_id, 2)
    assert all(open_(jobs, each, 2) for each in photos)
    assert not any(open_(jobs, each, 1) for each in photos)
