"""The job table: atomic claims, fencing, leases, deadlines, outbox."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, update
from sqlalchemy.exc import IntegrityError

from core.errors import NotFound, StateConflict
from core.jobs import database
from core.jobs.audit import Audit, Entry
from core.jobs.photos import Photos
from core.jobs.repository import EXPIRED, POISONED, Jobs, new_id
from core.jobs.retries import PAUSES, Fault
from core.jobs.states import ENDS, TRANSITIONS, State
from core.jobs.tables import Job, Photo


def add(jobs: Jobs, tenant: str = "bank", **values: Any) -> str:
    job_id, photo_id = new_id("job"), new_id("pho")
    now = database.now()
    photo = Photo(id=photo_id, tenant=tenant, method="sider", preset="standard", variants=1, created_at=now)
    jobs.add(
        [Job(id=job_id, tenant=tenant, kind="protect", state=State.queued, photo_id=photo_id, request={},
            attempt=0, crashes=0, step="queued", progress=0.0, **{"created_at": now, **values})],
        [photo],
    )  # fmt: skip
    return job_id


def age(engine: Engine, **values: Any) -> None:
    """Make rows look older than they are."""
    with engine.begin() as connection:
        connection.execute(update(Job).values(**values))


def test_the_way_of_a_job(engine: Engine) -> None:
    jobs = Jobs(engine)
    job_id = add(jobs)
    job = jobs.claim(job_id, 60)
    assert job is not None
    assert (job.state, job.attempt) == (State.running, 1)
    jobs.heartbeat(job_id, 1, 60, "optimise", 0.5)
    assert jobs.get(job_id).progress == 0.5
    jobs.finish(job_id, 1, {"variants": 1}, {"report": {"held": True}})
    done = jobs.get(job_id)
    assert (done.state, done.result, done.lease_until) == (State.succeeded, {"variants": 1}, None)
    assert done.finished_at is not None
    assert done.finished_at.tzinfo is not None
    assert Photos(engine).get(done.photo_id, "bank").report == {"held": True}


def test_ends_are_final(engine: Engine) -> None:
    jobs = Jobs(engine)
    job_id = add(jobs)
    jobs.claim(job_id, 60)
    jobs.finish(job_id, 1, {})
    for write in (
        lambda: jobs.fail(job_id, 1, {"code": "x"}),
        lambda: jobs.finish(job_id, 1, {}),
        lambda: jobs.release(job_id, 1),
        lambda: jobs.heartbeat(job_id, 1, 60, "x", 0.1),
    ):
        with pytest.raises(StateConflict):
            write()
    assert jobs.claim(job_id, 60) is None
    assert set(State) - ENDS == {State.queued, State.running}


def test_of_many_claims_one_wins(engine: Engine) -> None:
    jobs = Jobs(engine)
    for _ in range(5):
        job_id = add(jobs)
        with ThreadPoolExecutor(8) as pool:
            won = [job for job in pool.map(lambda _, i=job_id: jobs.claim(i, 60), range(8)) if job]
        assert [job.attempt for job in won] == [1]


def test_a_straggler_is_fenced_off(engine: Engine) -> None:
    jobs = Jobs(engine)
    job_id = add(jobs)
    jobs.claim(job_id, 60)
    age(engine, lease_until=database.now() - timedelta(seconds=1))
    assert jobs.requeue_lapsed() == [job_id]
    second = jobs.claim(job_id, 60)
    assert second is not None
    assert second.attempt == 2
    for write in (lambda: jobs.finish(job_id, 1, {}), lambda: jobs.heartbeat(job_id, 1, 60, "x", 0.9)):
        with pytest.raises(StateConflict):
            write()
    jobs.finish(job_id, 2, {"by": "second"})
    assert jobs.get(job_id).result == {"by": "second"}


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("target", list(State))
def test_only_the_tables_transitions_happen(engine: Engine, state: State, target: State) -> None:
    jobs = Jobs(engine)
    job_id = add(jobs)
    age(engine, state=state, attempt=1)
    ways = {
        State.running: lambda: jobs.claim(job_id, 60) is not None,
        State.succeeded: lambda: jobs.finish(job_id, 1, {}) is None,
        State.failed: lambda: jobs.fail(job_id, 1, {"code": "x"}) is None,
        State.queued: lambda: jobs.release(job_id, 1) is None,
        State.cancelled: lambda: jobs.cancel(job_id) is not None,
        State.expired: lambda: expire(engine, jobs, job_id),
    }
    try:
        moved = ways[target]()
    except StateConflict:
        moved = False
    assert jobs.get(job_id).state == (target if target in TRANSITIONS[state] else state)
    again = state == target == State.cancelled
    assert moved == (target in TRANSITIONS[state] or again)


def expire(engine: Engine, jobs: Jobs, job_id: str) -> bool:
    age(engine, expires_at=database.now())
    return jobs.expire() == [job_id]


def test_worker_and_reaper_do_not_both_end_a_job(engine: Engine) -> None:
    jobs = Jobs(engine)

    def finish(job_id: str) -> bool:
        try:
            jobs.finish(job_id, 1, {"by": "worker"})
        except StateConflict:
            return False
        return True

    for _ in range(8):
        job_id = add(jobs)
        jobs.claim(job_id, 60)
        age(engine, lease_until=database.now() - timedelta(seconds=1), crashes=len(PAUSES[Fault.poison]))
        with ThreadPoolExecutor(2) as pool:
            finished = pool.submit(finish, job_id)
            reaped = pool.submit(jobs.requeue_lapsed)
        assert finished.result() != (job_id in reaped.result())
        job = jobs.get(job_id)
        assert job.state == (State.succeeded if finished.result() else State.failed)
        assert (job.result is None) != (job.problem is None)


def test_a_worker_that_comes_back_keeps_its_job(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = Jobs(engine)
    job_id = add(jobs)
    jobs.claim(job_id, 60)
    age(engine, lease_until=database.now() - timedelta(seconds=1))
    look = jobs._all

    def look_then_beat(query: Any) -> list[Job]:
        found = look(query)
        jobs.heartbeat(job_id, 1, 60, "optimise", 0.5)
        return found

    monkeypatch.setattr(jobs, "_all", look_then_beat)
    assert jobs.requeue_lapsed() == []
    assert jobs.get(job_id).state == State.running


def test_a_link_is_given_once_and_never_for_an_erased_photo(engine: Engine) -> None:
    jobs = Jobs(engine)
    one, two = add(jobs), add(jobs)

    def given(job_id: str) -> bool:
        return jobs.give_link(jobs.get(job_id), "key:1")

    assert not given(one)  # not done yet
    for job_id in (one, two):
        jobs.claim(job_id, 60)
        jobs.finish(job_id, 1, {})
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(given, [one] * 8)) == 1
    Photos(engine).mark_erased(jobs.get(two).photo_id, Entry("erase", "succeeded", "key:1"))
    assert not given(two)
    told = [(entry.outcome, entry.details["job"]) for entry in Audit(engine).latest(99) if entry.event == "link"]
    assert told == [("given", one)]


def test_a_living_lease_is_left_alone(engine: Engine) -> None:
    jobs = Jobs(engine)
    jobs.claim(add(jobs), 60)
    assert jobs.requeue_lapsed() == []


def test_a_job_that_kills_its_workers_fails_as_poisoned(engine: Engine) -> None:
    jobs = Jobs(engine)
    job_id = add(jobs)
    for _ in range(len(PAUSES[Fault.poison]) + 1):
        assert jobs.claim(job_id, 60) is not None
        age(engine, lease_until=database.now() - timedelta(seconds=1))
        jobs.requeue_lapsed()
    job = jobs.get(job_id)
    assert job.state == State.failed
    assert job.problem is not None
    assert job.problem["code"] == POISONED


def test_outbox_finds_what_was_never_sent(engine: Engine) -> None:
    jobs = Jobs(engine)
    sent, unsent = add(jobs), add(jobs)
    jobs.mark_published(sent)
    assert jobs.unpublished(older_than_seconds=0) == [unsent]
    assert jobs.unpublished(older_than_seconds=60) == []
    jobs.republish_stale(older_than_seconds=0)
    assert set(jobs.unpublished(older_than_seconds=0)) == {sent, unsent}


def test_a_released_job_is_published_again(engine: Engine) -> None:
    jobs = Jobs(engine)
    job_id = add(jobs)
    jobs.mark_published(job_id)
    jobs.claim(job_id, 60)
    jobs.release(job_id, 1)
    assert jobs.unpublished(older_than_seconds=0) == [job_id]


def test_a_pause_is_kept(engine: Engine) -> None:
    jobs = Jobs(engine)
    job_id = add(jobs)
    jobs.claim(job_id, 60)
    jobs.release(job_id, 1, pause_seconds=30)
    assert jobs.unpublished(older_than_seconds=0) == []
    age(engine, due_at=database.now())
    assert jobs.unpublished(older_than_seconds=0) == [job_id]


def test_nothing_is_done_after_a_deadline(engine: Engine) -> None:
    jobs = Jobs(engine)
    soon = database.now() + timedelta(seconds=60)
    waiting, running, unhurried = add(jobs, expires_at=soon), add(jobs, expires_at=soon), add(jobs)
    jobs.claim(running, 60)
    assert jobs.expire() == []
    with engine.begin() as connection:
        connection.execute(update(Job).where(Job.id != unhurried).values(expires_at=database.now()))
    assert jobs.claim(waiting, 60) is None
    for write in (lambda: jobs.finish(running, 1, {}), lambda: jobs.heartbeat(running, 1, 60, "x", 0.9)):
        with pytest.raises(StateConflict):
            write()
    assert set(jobs.expire()) == {waiting, running}
    problems = [jobs.get(job_id).problem for job_id in (waiting, running, unhurried)]
    assert [problem and problem["code"] for problem in problems] == [EXPIRED, EXPIRED, None]


def test_what_ended_is_cleared_once_its_worker_has_had_time_to_notice(engine: Engine) -> None:
    jobs = Jobs(engine)
    waiting, running = add(jobs), add(jobs)
    jobs.claim(running, 60)
    assert jobs.uncleared(grace_seconds=0) == []
    for job_id in (waiting, running):
        jobs.cancel(job_id)
    assert [job.id for job in jobs.uncleared(grace_seconds=60)] == [waiting]
    assert [job.id for job in jobs.uncleared(grace_seconds=0)] == [waiting, running]
    jobs.mark_cleared(waiting)
    assert [job.id for job in jobs.uncleared(grace_seconds=0)] == [running]


def test_tenants_do_not_see_each_other(engine: Engine) -> None:
    jobs = Jobs(engine)
    job_id = add(jobs, "bank")
    photo_id = jobs.get(job_id, "bank").photo_id
    with pytest.raises(NotFound):
        jobs.get(job_id, "other")
    with pytest.raises(NotFound):
        Photos(engine).get(photo_id, "other")


def test_pages_cover_all_jobs_once(engine: Engine) -> None:
    jobs = Jobs(engine)
    made = [add(jobs) for _ in range(7)]
    seen: list[str] = []
    after = None
    while page := jobs.page(None, after, 3):
        seen += [job.id for job in page]
        after = page[-1].id
    assert sorted(seen) == sorted(made)
    assert [j.id for j in jobs.page(State.running, None, 10)] == []


def test_position_and_depth(engine: Engine) -> None:
    jobs = Jobs(engine)
    first, second = add(jobs), add(jobs)
    assert jobs.position(jobs.get(first)) == 0
    assert jobs.position(jobs.get(second)) == 1
    jobs.claim(first, 60)
    assert jobs.depth() == 2
    assert jobs.position(jobs.get(second)) == 0


def test_outputs_are_kept_with_the_one_success_that_made_them(engine: Engine) -> None:
    jobs, photos = Jobs(engine), Photos(engine)
    job_id, prints = add(jobs), ["a" * 64, "b" * 64]
    for _ in range(2):  # the first run is overtaken by the second, which makes the same
        jobs.claim(job_id, -1)
        jobs.requeue_lapsed()
    jobs.claim(job_id, 60)
    with pytest.raises(StateConflict):
        jobs.finish(job_id, 1, {"fingerprints": prints})
    assert photos.made(prints, None) == []
    jobs.finish(job_id, 3, {"fingerprints": prints})
    assert sorted((photo.id, n) for photo, n in photos.made(prints, None)) == [
        (jobs.get(job_id).photo_id, 1), (jobs.get(job_id).photo_id, 2),
    ]  # fmt: skip
    photos.mark_erased(jobs.get(job_id).photo_id, Entry("erase", "succeeded", "key:1"))
    assert photos.made(prints, None) == []


def test_jobs_are_added_together_or_not_at_all_and_keep_their_order(engine: Engine) -> None:
    jobs = Jobs(engine)
    ids = [add(jobs, batch_id="bat_1") for _ in range(3)]
    alone = jobs.get(add(jobs))
    assert [job.id for job in jobs.of_batch("bat_1", "bank")] == ids
    with pytest.raises(NotFound):
        jobs.of_batch("bat_1", "rival")
    values = {"tenant": "bank", "kind": "protect", "state": State.queued, "request": {}, "created_at": database.now()}
    good = Job(id=new_id("job"), photo_id=alone.photo_id, **values)
    with pytest.raises(IntegrityError):
        jobs.add([good, Job(id=new_id("job"), photo_id="pho_nowhere", **values)])
    assert jobs.depth() == 4
