"""The job table against a model in memory: whatever order things happen in, both tell the same story."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine, delete

from core.errors import StateConflict
from core.jobs import database, queries, repository
from core.jobs.repository import Jobs
from core.jobs.tables import Job, Photo
from tests.jobs.test_repository import add

LEASE = 60.0
GRACE = 30.0
CRASHES = 3  # runs that may be lost with their worker


@dataclass
class Model:
    """A job as the documentation has it. Times are seconds of the machine's clock."""

    born: float
    deadline: float
    state: str = "queued"
    attempt: int = 0
    crashes: int = 0
    lease: float = 0.0
    due: float = 0.0
    sent: float | None = None
    ended: float | None = None
    cleared: bool = False

    def end(self, state: str, at: float) -> None:
        self.state, self.ended = state, at


class JobMachine(RuleBasedStateMachine):
    """Clients, workers (living, slow and dead), reaper and clock in any order."""

    jobs_made = Bundle("jobs_made")
    claims = Bundle("claims")  # (job, attempt); a worker that was overtaken goes on using its own

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.jobs, self.model, self.clock = Jobs(engine), dict[str, Model](), 0.0
        start = database.now()
        self.patch = pytest.MonkeyPatch()
        for module in (queries, repository):
            self.patch.setattr(module, "now", lambda: start + timedelta(seconds=self.clock))
        self.start = start
        with engine.begin() as connection:
            connection.execute(delete(Job))
            connection.execute(delete(Photo))

    def teardown(self) -> None:
        self.patch.undo()

    def time(self, seconds: float) -> datetime:
        return self.start + timedelta(seconds=seconds)

    def holds(self, claim: tuple[str, int]) -> bool:
        job = self.model[claim[0]]
        return job.state == "running" and job.attempt == claim[1] and self.clock < job.deadline

    def written(self, claim: tuple[str, int], write: object) -> bool:
        """Whether a worker's write was let through; it must be so exactly for the one that holds the job."""
        assert callable(write)
        allowed = self.holds(claim)
        if not allowed:
            with pytest.raises(StateConflict):
                write()
            return False
        write()
        return True

    # Few jobs, so that many things happen to each.
    @precondition(lambda self: len(self.model) < 3)
    @rule(target=jobs_made, seconds=st.sampled_from([None, None, 100]))
    def accept(self, seconds: int | None) -> str:
        deadline = self.clock + seconds if seconds else float("inf")
        values = {"expires_at": self.time(deadline) if seconds else None}
        job_id = add(self.jobs, created_at=self.time(self.clock), **values)
        self.model[job_id] = Model(self.clock, deadline)
        return job_id

    @rule(seconds=st.sampled_from([1.0, 9.0, 45.0]))
    def pass_time(self, seconds: float) -> None:
        self.clock += seconds

    @rule(target=claims, job_id=jobs_made)
    def claim(self, job_id: str) -> object:
        job, claimed = self.model[job_id], self.jobs.claim(job_id, LEASE)
        if job.state != "queued" or self.clock >= job.deadline:
            assert claimed is None
            return multiple()
        job.state, job.attempt, job.lease = "running", job.attempt + 1, self.clock + LEASE
        assert claimed is not None
        return job_id, claimed.attempt

    @rule(claim=claims)
    def heartbeat(self, claim: tuple[str, int]) -> None:
        if self.written(claim, lambda: self.jobs.heartbeat(*claim, LEASE, "optimise", 0.5)):
            self.model[claim[0]].lease = self.clock + LEASE

    @rule(claim=claims, well=st.booleans())
    def end(self, claim: tuple[str, int], well: bool) -> None:
        if not well:
            if self.written(claim, lambda: self.jobs.fail(*claim, {"code": "no_face_found"})):
                self.model[claim[0]].end("failed", self.clock)
        elif self.written(claim, lambda: self.jobs.finish(*claim, {"by": claim[1]}, {"report": {"by": claim[1]}})):
            self.model[claim[0]].end("succeeded", self.clock)
            assert self.jobs.get(claim[0]).result == {"by": claim[1]}

    @rule(claim=claims, seconds=st.sampled_from([0.0, 30.0]))
    def release(self, claim: tuple[str, int], seconds: float) -> None:
        if self.written(claim, lambda: self.jobs.release(*claim, seconds)):
            job = self.model[claim[0]]
            job.state, job.due, job.sent = "queued", self.clock + seconds, None

    @rule(job_id=jobs_made)
    def cancel(self, job_id: str) -> None:
        job = self.model[job_id]
        if job.state in ("succeeded", "failed", "expired"):
            with pytest.raises(StateConflict):
                self.jobs.cancel(job_id)
            return
        assert self.jobs.cancel(job_id).state == "cancelled"
        if job.state != "cancelled":
            job.end("cancelled", self.clock)

    @rule(wait=st.sampled_from([0.0, LEASE + 1]))
    def requeue_lapsed(self, wait: float) -> None:
        self.clock += wait
        lapsed = {i: j for i, j in self.model.items() if j.state == "running" and j.lease < self.clock}
        assert set(self.jobs.requeue_lapsed()) == set(lapsed)
        for job in lapsed.values():
            job.crashes += 1
            if job.crashes < CRASHES:
                job.state, job.due, job.sent = "queued", self.clock, None
            else:
                job.end("failed", self.clock)

    @rule()
    def expire(self) -> None:
        late = {i for i, j in self.model.items() if j.state in ("queued", "running") and j.deadline <= self.clock}
        assert set(self.jobs.expire()) == late
        for job_id in late:
            self.model[job_id].end("expired", self.clock)

    @rule(distrust=st.booleans())
    def publish(self, distrust: bool) -> None:
        if distrust:
            sent = [j for j in self.model.values() if j.state == "queued" and j.sent is not None]
            stale = [j for j in sent if j.sent < self.clock]
            assert self.jobs.republish_stale(older_than_seconds=0) == len(stale)
            for job in stale:
                job.sent = None
        waiting = {i: j for i, j in self.model.items() if j.state == "queued" and j.sent is None}
        ready = {i for i, j in waiting.items() if j.born < self.clock - 2 and j.due <= self.clock}
        found = self.jobs.unpublished(older_than_seconds=2)
        assert set(found) == ready
        assert [self.model[i].born for i in found] == sorted(self.model[i].born for i in found)
        for job_id in found:
            self.send(job_id)

    @rule(job_id=jobs_made)
    def send(self, job_id: str) -> None:
        job, sent = self.model[job_id], list[str]()
        due = job.state == "queued" and job.sent is None and job.due <= self.clock
        assert self.jobs.publish(job_id, sent.append) == due == bool(sent)
        if due:
            job.sent = self.clock

    @rule()
    def clear(self) -> None:
        owed = {
            i for i, j in self.model.items()
            if j.ended is not None and not j.cleared and (j.attempt == 0 or j.ended < self.clock - GRACE)
        }  # fmt: skip
        assert {job.id for job in self.jobs.uncleared(GRACE)} == owed
        for job_id in owed:
            self.jobs.mark_cleared(self.jobs.get(job_id))
            self.model[job_id].cleared = True

    @invariant()
    def same_story(self) -> None:
        for job_id, model in self.model.items():
            job = self.jobs.get(job_id)
            told = (job.state, job.attempt, job.crashes, job.published_at is None, job.cleared_at is not None)
            assert told == (model.state, model.attempt, model.crashes, model.sent is None, model.cleared)
            assert job.lease_until == (self.time(model.lease) if model.state == "running" else None)
            assert job.finished_at == (None if model.ended is None else self.time(model.ended))
            assert (job.result is not None) == (model.state == "succeeded")
            assert (job.problem is not None) == (model.state in ("failed", "expired"))

    @invariant()
    def depth(self) -> None:
        waiting = sum(job.state in ("queued", "running") for job in self.model.values())
        assert self.jobs.depth() == waiting


def test_table_and_model_tell_the_same_story(engine: Engine) -> None:
    run_state_machine_as_test(
        lambda: JobMachine(engine),
        settings=settings(
            max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
        ),
    )
