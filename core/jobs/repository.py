"""Jobs: the table is the truth, the queue only a hint.

Every write of a worker names its attempt; a worker that lost its lease has an old one and is refused.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, Engine, Row, Select, func, select, update
from sqlalchemy.orm import Session

from core.errors import NotFound, StateConflict
from core.jobs.audit import Entry, append
from core.jobs.database import now
from core.jobs.states import TRANSITIONS, State, sources
from core.jobs.tables import Job, Photo

POISONED = "poisoned"
TOLD = ("reason", "custody", "subject", "variants")  # what the audit log tells of a request


def new_id(kind: str) -> str:
    """A random id: "job" -> "job_<32 hex>", "pho" -> "pho_<32 hex>"."""
    return f"{kind}_{secrets.token_hex(16)}"


class Jobs:
    """The job table. Safe for many threads and processes."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def add(self, job: Job, photo: Photo | None = None) -> None:
        """Queue a job; a new photo's row is committed with it, and both with an entry in the audit log. The message
        is sent after this (outbox)."""
        with Session(self.engine) as session, session.begin():
            if photo:
                session.add(photo)
                session.flush()
            session.add(job)
            session.flush()
            append(session.connection(), _entry(job, "accepted", job.actor))

    def get(self, job_id: str, tenant: str | None = None) -> Job:
        """One job; of `tenant` only, unless None.

        Raises:
            NotFound: no such job for this tenant.
        """
        with Session(self.engine, expire_on_commit=False) as session:
            job = session.get(Job, job_id)
        if job is None or (tenant is not None and job.tenant != tenant):
            raise NotFound("no such job")
        return job

    def claim(self, job_id: str, lease_seconds: float) -> Job | None:
        """Take a queued job for one more attempt; None when it is not queued (any more)."""
        values = {
            "attempt": Job.attempt + 1,
            "lease_until": now() + timedelta(seconds=lease_seconds),
            "started_at": func.coalesce(Job.started_at, now()),
            "step": "started",
        }
        if not self._move(job_id, State.running, values):
            return None
        return self.get(job_id)

    def heartbeat(self, job_id: str, attempt: int, lease_seconds: float, step: str, progress: float) -> None:
        """Renew the lease and tell how far the work is.

        Raises:
            StateConflict: another attempt has the job, or it ended.
        """
        lease = now() + timedelta(seconds=lease_seconds)
        changes = update(Job).where(Job.id == job_id, Job.attempt == attempt, Job.state == State.running)
        if not self._execute(changes.values(lease_until=lease, step=step, progress=progress)):
            raise StateConflict(f"attempt {attempt} of {job_id} has lost its lease")

    def finish(self, job_id: str, attempt: int, result: dict[str, Any], photo: dict[str, Any] | None = None) -> None:
        """End in success; `photo` are new column values of the job's photo, committed with it.

        Raises:
            StateConflict: as heartbeat.
        """
        values = {
            "result": result,
            "step": "done",
            "progress": 1.0,
            "finished_at": now(),
            "lease_until": None,
        }
        self._leave(job_id, State.succeeded, attempt, values, photo)

    def fail(self, job_id: str, attempt: int, problem: dict[str, Any]) -> None:
        """End in failure. `problem` has code, message and details.

        Raises:
            StateConflict: as heartbeat.
        """
        self._leave(job_id, State.failed, attempt, _failed(problem))

    def release(self, job_id: str, attempt: int) -> None:
        """Hand a running job back for another try; it will be published again.

        Raises:
            StateConflict: as heartbeat.
        """
        self._leave(job_id, State.queued, attempt, _requeued())

    def requeue_expired(self, max_attempts: int) -> list[str]:
        """Requeue running jobs whose lease ran out; one that had all its attempts fails as poisoned."""
        lapsed = Job.lease_until < now()
        touched = []
        for job in self._all(select(Job).where(Job.state == State.running, lapsed)):
            if job.attempt < max_attempts:
                target, values = State.queued, _requeued()
            else:
                message = f"the job ended its worker {job.attempt} times"
                target, values = State.failed, _failed({"code": POISONED, "message": message, "details": {}})
            # Asked again in the UPDATE: its worker may have come back in between.
            if self._move(job.id, target, values, Job.attempt == job.attempt, Job.state == State.running, lapsed):
                touched.append(job.id)
        return touched

    def unpublished(self, older_than_seconds: float = 2.0) -> list[str]:
        """Queued jobs whose message was never sent, oldest first."""
        cut = now() - timedelta(seconds=older_than_seconds)
        query = select(Job).where(Job.state == State.queued, Job.published_at.is_(None), Job.created_at < cut)
        return [job.id for job in self._all(query.order_by(Job.created_at))]

    def republish_stale(self, older_than_seconds: float) -> int:
        """Forget that messages were sent which nobody has picked up for so long: the queue may have lost them.

        A duplicate is harmless, because a claim is atomic.
        """
        cut = now() - timedelta(seconds=older_than_seconds)
        stale = update(Job).where(Job.state == State.queued, Job.published_at < cut)
        return self._execute(stale.values(published_at=None))

    def mark_published(self, job_id: str) -> None:
        """The message is in the queue."""
        self._execute(update(Job).where(Job.id == job_id).values(published_at=now()))

    def give_link(self, job_id: str) -> bool:
        """Whether the link to this job's restored photo may be given: to one caller, once, unless it was deleted."""
        kept = select(Photo.id).where(Photo.erased_at.is_(None))
        once = update(Job).where(
            Job.id == job_id,
            Job.state == State.succeeded,
            Job.link_given_at.is_(None),
            Job.withdrawn_at.is_(None),
            Job.photo_id.in_(kept),
        )
        return bool(self._execute(once.values(link_given_at=now())))

    def restored_before(self, time: datetime, limit: int) -> list[Job]:
        """Restorations that ended before this time and whose originals are still in the store, oldest first."""
        ended = (Job.kind == "restore", Job.withdrawn_at.is_(None), Job.finished_at < time)
        return self._all(select(Job).where(*ended).order_by(Job.finished_at).limit(limit))

    def mark_withdrawn(self, job: Job) -> None:
        """The restored original is no more."""
        first = update(Job).where(Job.id == job.id, Job.withdrawn_at.is_(None)).values(withdrawn_at=now())
        with self.engine.begin() as connection:
            if connection.execute(first).rowcount and job.state == State.succeeded:
                append(connection, Entry("link", "withdrawn", "service", job.tenant, job.photo_id, {"job": job.id}))

    def of_photo(self, photo_id: str) -> list[Job]:
        """All jobs of a photo."""
        return self._all(select(Job).where(Job.photo_id == photo_id))

    def depth(self) -> int:
        """Jobs waiting or running."""
        return self._count(select(func.count()).where(Job.state.in_([State.queued, State.running])))

    def position(self, job: Job) -> int:
        """How many queued jobs are before this one."""
        return self._count(select(func.count()).where(Job.state == State.queued, Job.created_at < job.created_at))

    def page(self, state: State | None, after: str | None, limit: int) -> list[Job]:
        """Jobs of all tenants, newest first, after the job named by the cursor."""
        query = select(Job).order_by(Job.created_at.desc(), Job.id.desc()).limit(limit)
        if state:
            query = query.where(Job.state == state)
        if after:
            last = self.get(after)
            query = query.where(
                (Job.created_at < last.created_at) | ((Job.created_at == last.created_at) & (Job.id < last.id))
            )
        return self._all(query)

    def _leave(
        self, job_id: str, target: State, attempt: int, values: dict[str, Any], photo: dict[str, Any] | None = None
    ) -> None:
        """Out of `running`, by the worker of `attempt`."""
        mine = (Job.attempt == attempt, Job.state == State.running)
        if not self._move(job_id, target, values, *mine, photo=photo):
            raise StateConflict(f"attempt {attempt} of {job_id} has lost its lease")

    def _move(
        self,
        job_id: str,
        target: State,
        values: dict[str, Any],
        *conditions: ColumnElement[bool],
        photo: dict[str, Any] | None = None,
    ) -> bool:
        """One conditional UPDATE: of two that want the same job, one finds no row."""
        change = update(Job).where(Job.id == job_id, Job.state.in_(sources(target)), *conditions)
        with self.engine.begin() as connection:
            moved = cast(CursorResult[Any], connection.execute(change.values(state=target, **values)))
            if moved.rowcount and photo:
                owner = select(Job.photo_id).where(Job.id == job_id).scalar_subquery()
                connection.execute(update(Photo).where(Photo.id == owner).values(**photo))
            if moved.rowcount and not TRANSITIONS[target]:
                ended = connection.execute(select(Job).where(Job.id == job_id)).one()
                append(connection, _entry(ended, ended.problem["code"] if ended.problem else target, "service"))
        return bool(moved.rowcount)

    def _execute(self, statement: Any) -> int:
        with self.engine.begin() as connection:
            return cast(CursorResult[Any], connection.execute(statement)).rowcount

    def _all(self, query: Select[Job]) -> list[Job]:
        with Session(self.engine, expire_on_commit=False) as session:
            return list(session.scalars(query))

    def _count(self, query: Select[int]) -> int:
        with self.engine.connect() as connection:
            return connection.execute(query).scalar_one()


def _entry(job: Job | Row[Any], outcome: str, actor: str) -> Entry:
    told = {name: job.request[name] for name in TOLD if job.request.get(name) is not None}
    return Entry(job.kind, outcome, actor, job.tenant, job.photo_id, {"job": job.id, "for": job.actor, **told})


def _requeued() -> dict[str, Any]:
    return {"lease_until": None, "published_at": None, "step": "queued"}


def _failed(problem: dict[str, Any]) -> dict[str, Any]:
    return {"problem": problem, "finished_at": now(), "lease_until": None}
