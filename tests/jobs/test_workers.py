"""Signs of life, and the figures of the last hours."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Engine, update

from core.jobs.database import now
from core.jobs.repository import Jobs
from core.jobs.statistics import COUNT, SPAN, Observer
from core.jobs.tables import Job, Worker
from core.jobs.workers import ALIVE, FORGET, Workers, alive, identity
from core.settings import Settings
from tests.jobs.test_repository import add
from worker.health import healthy


def sign(name: str, age: timedelta = timedelta(), job_id: str | None = None) -> Worker:
    return Worker(
        id=name, version="0.1.0", device="cpu", bundle="mini", memory_bytes=2**30, job_id=job_id,
        started_at=now() - timedelta(hours=9), seen_at=now() - age,
    )  # fmt: skip


def test_workers_that_were_silent_for_long_are_forgotten(engine: Engine) -> None:
    workers = Workers(engine)
    for worker in (sign("old", FORGET * 2), sign("silent", ALIVE * 2), sign("busy"), sign("busy", job_id="job_1")):
        workers.beat(worker)
    assert {w.id: (alive(w), w.job_id) for w in workers.all()} == {"silent": (False, None), "busy": (True, "job_1")}


def test_health_is_a_sign_of_life_of_this_machine(engine: Engine) -> None:
    settings = Settings(database_url=engine.url.render_as_string(hide_password=False))
    for silent in (sign("elsewhere/1"), sign(identity(1), ALIVE * 2)):
        Workers(engine).beat(silent)
    assert not healthy(settings)
    Workers(engine).beat(sign(identity(2)))
    assert healthy(settings)


def test_figures_of_the_last_hours(engine: Engine) -> None:
    jobs = Jobs(engine)
    ids = [add(jobs) for _ in range(5)]
    for job_id, wait, work in zip(ids[:3], (10, 20, 30), (100, 200, 300), strict=True):
        job = jobs.claim(job_id, 60)
        assert job
        if job_id == ids[2]:
            jobs.fail(job_id, job.attempt, {"code": "no_face_found", "message": "", "details": {}})
        else:
            jobs.finish(job_id, job.attempt, {})
        end = now()
        times = {"finished_at": end, "started_at": end - timedelta(seconds=work)}
        times["created_at"] = times["started_at"] - timedelta(seconds=wait)
        with engine.begin() as connection:
            connection.execute(update(Job).where(Job.id == job_id).values(**times))
    jobs.claim(ids[3], 60)
    found = Observer(engine).look()
    assert (found.queued, found.running) == (1, 1)
    assert found.oldest == jobs.get(ids[3]).created_at
    assert found.ends == [("succeeded", "", 2), ("failed", "no_face_found", 1)]
    assert [b.begin - a.begin for a, b in zip(found.buckets, found.buckets[1:], strict=False)] == [SPAN] * (COUNT - 1)
    # The clock may have passed a border between the jobs' ends.
    counted = [b for b in found.buckets if b.succeeded or b.others]
    assert (sum(b.succeeded for b in counted), sum(b.others for b in counted)) == (2, 1)
    if len(counted) == 1:
        assert (counted[0].waited, counted[0].worked) == (pytest.approx(20, abs=1), pytest.approx(200, abs=1))


def test_what_is_on_its_way(engine: Engine) -> None:
    jobs = Jobs(engine)
    running, queued, ended = add(jobs), add(jobs), add(jobs)
    jobs.claim(running, 60)
    jobs.cancel(ended)
    with engine.begin() as connection:
        connection.execute(update(Job).where(Job.id == running).values(request={"method": "sider"}))
    created = {job_id: jobs.get(job_id).created_at for job_id in (running, queued)}
    assert sorted(Observer(engine).present()) == [
        ("queued", "protect", "", 1, created[queued]), ("running", "protect", "sider", 1, created[running]),
    ]  # fmt: skip


def test_jobs_that_ended_long_ago_are_not_counted(engine: Engine) -> None:
    jobs = Jobs(engine)
    job_id = add(jobs)
    jobs.cancel(job_id)
    with engine.begin() as connection:
        connection.execute(update(Job).values(finished_at=now() - SPAN * COUNT))
    found = Observer(engine).look()
    assert found.ends == []
    assert not any(bucket.others for bucket in found.buckets)
