"""What the reaper finds in the job table: expired leases, deadlines, unsent and uncleared jobs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import Engine, update

from core.errors import StateConflict
from core.jobs import database
from core.jobs.audit import Audit
from core.jobs.repository import EXPIRED, POISONED, Jobs
from core.jobs.retries import PAUSES, Fault
from core.jobs.states import State
from core.jobs.tables import Job
from tests.jobs.rows import add, age


def sending(_: str) -> None:
    """The queue is there."""


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
    assert jobs.publish(sent, sending)
    assert jobs.unpublished(older_than_seconds=0) == [unsent]
    assert jobs.unpublished(older_than_seconds=60) == []
    jobs.republish_stale(older_than_seconds=0)
    assert set(jobs.unpublished(older_than_seconds=0)) == {sent, unsent}


def test_of_many_who_would_send_a_message_one_does(engine: Engine) -> None:
    jobs, asked = Jobs(engine), list[str]()
    job_id = add(jobs)
    with ThreadPoolExecutor(8) as pool:
        sent = list(pool.map(lambda _: jobs.publish(job_id, asked.append), range(8)))
    assert (sum(sent), asked) == (1, [job_id])


def test_a_message_that_could_not_be_sent_is_due_again(engine: Engine) -> None:
    jobs = Jobs(engine)
    job_id = add(jobs)

    def lost(_: str) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        jobs.publish(job_id, lost)
    assert jobs.unpublished(older_than_seconds=0) == [job_id]


@pytest.mark.parametrize("pause", [0.0, 30.0])
def test_what_is_handed_back_while_it_is_sent_is_not_taken_for_sent(engine: Engine, pause: float) -> None:
    jobs = Jobs(engine)
    job_id = add(jobs)

    def picked_up(_: str) -> None:
        jobs.claim(job_id, 60)
        jobs.release(job_id, 1, pause)

    assert jobs.publish(job_id, picked_up)
    assert jobs.get(job_id).published_at is None
    assert jobs.publish(job_id, sending) == (pause == 0)  # nobody sends what is not due


def test_a_released_job_is_published_again(engine: Engine) -> None:
    jobs = Jobs(engine)
    job_id = add(jobs)
    jobs.publish(job_id, sending)
    jobs.claim(job_id, 60)
    jobs.release(job_id, 1)
    assert jobs.unpublished(older_than_seconds=0) == [job_id]


def test_a_pause_is_kept(engine: Engine) -> None:
    jobs = Jobs(engine)
    job_id = add(jobs)
    jobs.claim(job_id, 60)
    jobs.release(job_id, 1, 30)
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


def test_only_what_was_restored_is_withdrawn_and_once(engine: Engine) -> None:
    jobs = Jobs(engine)
    _, restored, withdrawn, refused = (add(jobs, kind=kind) for kind in ("protect", *["restore"] * 3))
    jobs.mark_withdrawn(jobs.get(refused))  # there was none
    age(engine, finished_at=database.now(), state=State.succeeded)
    found = jobs.get(withdrawn)
    for _ in range(2):  # two workers that sweep at once
        jobs.mark_withdrawn(found)
    assert [job.id for job in jobs.restored_before(database.now(), 9)] == [restored]
    assert [entry.outcome for entry in Audit(engine).latest(9) if entry.event == "link"] == ["withdrawn"]


def test_what_ended_is_cleared_once_its_worker_has_had_time_to_notice(engine: Engine) -> None:
    jobs = Jobs(engine)
    waiting, running = add(jobs), add(jobs)
    jobs.claim(running, 60)
    assert jobs.uncleared(grace_seconds=0) == []
    for job_id in (waiting, running):
        jobs.cancel(job_id)
    assert [job.id for job in jobs.uncleared(grace_seconds=60)] == [waiting]
    assert [job.id for job in jobs.uncleared(grace_seconds=0)] == [waiting, running]
    jobs.mark_cleared(jobs.get(waiting))
    assert [job.id for job in jobs.uncleared(grace_seconds=0)] == [running]
