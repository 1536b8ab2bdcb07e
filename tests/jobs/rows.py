"""Rows of the job table, made and aged by hand."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, update

from core.jobs import database
from core.jobs.repository import Jobs, new_id
from core.jobs.states import State
from core.jobs.tables import Job, Photo


def add(jobs: Jobs, tenant: str = "bank", **values: Any) -> str:
    job_id, photo_id = new_id("job"), new_id("pho")
    now = database.now()
    photo = Photo(id=photo_id, tenant=tenant, method="sider", preset="standard", variants=1, created_at=now)
    jobs.add(
        [Job(id=job_id, tenant=tenant, state=State.queued, photo_id=photo_id, request={},
            attempt=0, crashes=0, step="queued", progress=0.0, **{"kind": "protect", "created_at": now, **values})],
        [photo],
    )  # fmt: skip
    return job_id


def age(engine: Engine, **values: Any) -> None:
    """Make rows look older than they are."""
    with engine.begin() as connection:
        connection.execute(update(Job).values(**values))


def expire(engine: Engine, jobs: Jobs, job_id: str) -> bool:
    age(engine, expires_at=database.now())
    return jobs.expire() == [job_id]
