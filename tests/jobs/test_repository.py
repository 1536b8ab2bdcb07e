"""The job table: atomic claims, fencing, leases, deadlines, outbox."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from core.errors import NotFound, StateConflict
from core.jobs import database
from core.jobs.audit import Audit, Entry
from core.jobs.message import VERSION
from core.jobs.photos import Photos
from core.jobs.repository import Jobs, new_id
from core.jobs.states import ENDS, TRANSITIONS, State
from core.jobs.tables import Job
from tests.jobs.rows import add, age, expire


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


def test_an_older_worker_leaves_a_newer_job_that_runs_alone(engine: Engine) -> None:
    """As with a message that came twice: what it would wait for has begun."""
    jobs, later = Jobs(engine), VERSION + 1
    job_id = add(jobs, version=later)
    jobs.claim(job_id, 60, known=later)
    lease = jobs.get(job_id).lease_until
    assert not jobs.postpone(job_id, 30, known=VERSION)
    job = jobs.get(job_id)
    assert (job.state, job.lease_until, job.due_at) == (State.running, lease, None)


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
    begun = database.now()
    last, first, second = (add(jobs, batch_id="bat_1", created_at=begun + timedelta(seconds=n)) for n in (2, 0, 1))
    alone = jobs.get(add(jobs))
    assert [job.id for job in jobs.of_batch("bat_1", "bank")] == [first, second, last]
    with pytest.raises(NotFound):
        jobs.of_batch("bat_1", "rival")
    values = {"tenant": "bank", "kind": "protect", "state": State.queued, "request": {}, "created_at": database.now()}
    good = Job(id=new_id("job"), photo_id=alone.photo_id, **values)
    with pytest.raises(IntegrityError):
        jobs.add([good, Job(id=new_id("job"), photo_id="pho_nowhere", **values)])
    assert jobs.depth() == 4
