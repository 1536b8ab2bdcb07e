"""Tries at once are counted one after the other, on both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import Engine

from core.errors import TooMany
from core.jobs import guesses
from core.jobs.database import now
from core.jobs.repository import Jobs, new_id
from core.jobs.states import State
from core.jobs.tables import Job
from tests.jobs.test_repository import add


def test_of_many_tries_at_once_so_many_are_let_in(engine: Engine) -> None:
    jobs = Jobs(engine)
    photo_id = jobs.get(add(jobs)).photo_id

    def attempt(_: int) -> bool:
        job = Job(
            id=new_id("job"), tenant="bank", kind="restore", state=State.queued, photo_id=photo_id, request={},
            attempt=0, crashes=0, step="queued", progress=0.0, created_at=now(),
        )  # fmt: skip
        try:
            jobs.add([job], also=lambda session: guesses.check(session, photo_id, 4))
        except TooMany:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(24))) == 3
