"""Jobs: the table is the truth, the queue only a hint.

Every write of a worker names its attempt; a worker that lost its lease has an old one and is refused.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, Engine, Row, Select, func, insert, or_, select, update
from sqlalchemy.orm import Session

from core import metrics
from core.errors import NotFound, StateConflict
from core.jobs.audit import Entry, append
from core.jobs.database import now
from core.jobs.message import VERSION
from core.jobs.retries import Fault, pause
from core.jobs.states import ENDS, State, sources
from core.jobs.tables import Job, Output, Photo

POISONED = "poisoned"
EXPIRED = "job_expired"
SERVICE = "service"  # who ends a job, as the audit log names it, unless its owner does
TOLD = ("reason", "custody", "subject", "variants")  # what the audit log tells of a request


def new_id(kind: str) -> str:
    """A random id: "job" -> "job_<32 hex>", "pho" -> "pho_<32 hex>"."""
    return f"{kind}_{secrets.token_hex(16)}"


class Jobs:
    """The job table. Safe for many threads and processes."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def add(
        self, jobs: Sequence[Job], photos: Sequence[Photo] = (), also: Callable[[Session], None] = lambda _: None
    ) -> None:
        """Queue jobs; new photos' rows, what else is to be, and entries in the audit log are committed with them.

        The messages are sent after this (outbox).
        """
        with Session(self.engine) as session, session.begin():
            for rows in (photos, jobs):
                session.add_all(rows)
                session.flush()
            also(session)
            session.flush()
            for job in jobs:
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

    def claim(self, job_id: str, lease_seconds: float, known: int = VERSION) -> Job | None:
        """Take a queued job for one more attempt; None when it is not queued (any more) or past its deadline.

        Jobs of a later version than is known are not taken.
        """
        values = {
            "attempt": Job.attempt + 1,
            "lease_until": now() + timedelta(seconds=lease_seconds),
            "started_at": func.coalesce(Job.started_at, now()),
            "step": "started",
        }
        if not self._move(job_id, State.running, values, _in_time(), Job.version <= known):
            return None
        job = self.get(job_id)
        if job.attempt == 1:
            metrics.QUEUE_SECONDS.labels(job.kind).observe(_seconds(job.created_at, job.started_at))
        return job

    def postpone(self, job_id: str, pause_seconds: float, known: int) -> bool:
        """Whether a queued job has a later version than is known; it is published again after the pause."""
        newer = update(Job).where(Job.id == job_id, Job.state == State.queued, Job.version > known)
        return bool(self._execute(newer.values(_requeued(pause_seconds))))

    def heartbeat(self, job_id: str, attempt: int, lease_seconds: float, step: str, progress: float) -> None:
        """Renew the lease and tell how far the work is.

        Raises:
            StateConflict: another attempt has the job, it ended, or its deadline is over.
        """
        lease = now() + timedelta(seconds=lease_seconds)
        changes = update(Job).where(Job.id == job_id, *_held_by(attempt))
        if not self._execute(changes.values(lease_until=lease, step=step, progress=progress)):
            raise _lost(job_id, attempt)

    def finish(self, job_id: str, attempt: int, result: dict[str, Any], photo: dict[str, Any] | None = None) -> None:
        """End in success; `photo` are new column values of the job's photo, committed with it, as are the outputs by
        the fingerprints of the result.

        Raises:
            StateConflict: as heartbeat.
        """
        values = _ended(result=result, step="done", progress=1.0)
        self._leave(job_id, State.succeeded, attempt, values, photo)

    def fail(self, job_id: str, attempt: int, problem: dict[str, Any]) -> None:
        """End in failure. `problem` has code, message and details.

        Raises:
            StateConflict: as heartbeat.
        """
        self._leave(job_id, State.failed, attempt, _ended(problem=problem))

    def release(self, job_id: str, attempt: int, pause_seconds: float = 0.0) -> None:
        """Hand a running job back for another try; it will be published again after the pause.

        Raises:
            StateConflict: as heartbeat.
        """
        self._leave(job_id, State.queued, attempt, _requeued(pause_seconds))

    def cancel(self, job_id: str, actor: str = SERVICE) -> Job:
        """End a queued or running job at its owner's wish; its worker finds out at its next beat. May be repeated.

        Raises:
            StateConflict: it had ended before.
        """
        self._move(job_id, State.cancelled, _ended(), actor=actor)
        job = self.get(job_id)
        if job.state != State.cancelled:
            raise StateConflict(f"the job has ended already: {job.state}")
        return job

    def expire(self) -> list[str]:
        """End the jobs whose deadline is over."""
        late = Job.expires_at <= now()
        problem = {"code": EXPIRED, "message": "the job was not finished by its deadline", "details": {}}
        waiting = select(Job).where(Job.state.in_(sources(State.expired)), late)
        return [j.id for j in self._all(waiting) if self._move(j.id, State.expired, _ended(problem=problem), late)]

    def requeue_lapsed(self) -> list[str]:
        """Requeue running jobs whose lease ran out; one that has lost too many workers fails as poisoned."""
        lapsed = Job.lease_until < now()
        touched = []
        for job in self._all(select(Job).where(Job.state == State.running, lapsed)):
            crashes = job.crashes + 1
            wait = pause(Fault.poison, crashes)
            if wait is not None:
                target, values = State.queued, _requeued(wait)
            else:
                message = f"the job ended its worker {crashes} times"
                target, values = State.failed, _ended(problem={"code": POISONED, "message": message, "details": {}})
            # Asked again in the UPDATE: its worker may have come back in between.
            mine = (Job.attempt == job.attempt, Job.state == State.running, lapsed)
            if self._move(job.id, target, {**values, "crashes": crashes}, *mine):
                touched.append(job.id)
        return touched

    def uncleared(self, grace_seconds: float, limit: int = 100) -> list[Job]:
        """Ended jobs that may still have something in the store, oldest first.

        One that had a worker is left to it for the grace: until the worker has noticed it may still write.
        """
        over = or_(Job.attempt == 0, Job.finished_at < now() - timedelta(seconds=grace_seconds))
        query = select(Job).where(Job.cleared_at.is_(None), Job.finished_at.is_not(None), over)
        return self._all(query.order_by(Job.finished_at).limit(limit))

    def mark_cleared(self, job_id: str) -> None:
        """Nothing of the ended job is left in the store that should not be."""
        self._execute(update(Job).where(Job.id == job_id).values(cleared_at=now()))

    def unpublished(self, older_than_seconds: float = 2.0) -> list[str]:
        """Queued jobs whose message is due and was not sent, oldest first."""
        cut = now() - timedelta(seconds=older_than_seconds)
        due = or_(Job.due_at.is_(None), Job.due_at <= now())
        query = select(Job).where(Job.state == State.queued, Job.published_at.is_(None), Job.created_at < cut, due)
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

    def give_link(self, job: Job, actor: str) -> bool:
        """Whether the link to this job's restored photo may be given: to one caller, once, unless it was deleted."""
        kept = select(Photo.id).where(Photo.erased_at.is_(None))
        once = update(Job).where(
            Job.id == job.id,
            Job.state == State.succeeded,
            Job.link_given_at.is_(None),
            Job.withdrawn_at.is_(None),
            Job.photo_id.in_(kept),
        )
        return self._told(once.values(link_given_at=now()), _link_entry(job, "given", actor))

    def restored_before(self, time: datetime, limit: int) -> list[Job]:
        """Restorations that ended before this time and whose originals are still in the store, oldest first."""
        ended = (Job.kind == "restore", Job.withdrawn_at.is_(None), Job.finished_at < time)
        return self._all(select(Job).where(*ended).order_by(Job.finished_at).limit(limit))

    def mark_withdrawn(self, job: Job) -> None:
        """The restored original is no more."""
        first = update(Job).where(Job.id == job.id, Job.withdrawn_at.is_(None)).values(withdrawn_at=now())
        self._told(first, _link_entry(job, "withdrawn", SERVICE) if job.state == State.succeeded else None)

    def of_photo(self, photo_id: str) -> list[Job]:
        """All jobs of a photo."""
        return self._all(select(Job).where(Job.photo_id == photo_id))

    def of_batch(self, batch_id: str, tenant: str) -> list[Job]:
        """The jobs that a tenant's photos were accepted with, in the order of the photos (NotFound)."""
        query = select(Job).where(Job.batch_id == batch_id, Job.tenant == tenant)
        if not (jobs := self._all(query.order_by(Job.created_at))):
            raise NotFound("no such batch")
        return jobs

    def known(self, job_id: str) -> bool:
        """Whether there is such a job, of whichever tenant."""
        return bool(self._count(select(func.count()).where(Job.id == job_id)))

    def depth(self, tenant: str | None = None) -> int:
        """Jobs waiting or running; of `tenant` only, unless None."""
        query = select(func.count()).where(Job.state.in_([State.queued, State.running]))
        return self._count(query.where(Job.tenant == tenant) if tenant else query)

    def position(self, job: Job) -> int:
        """How many queued jobs are before this one."""
        return self._count(select(func.count()).where(Job.state == State.queued, Job.created_at < job.created_at))

    def page(
        self, state: State | None, after: str | None, limit: int, kind: str | None = None, tenant: str | None = None
    ) -> list[Job]:
        """Jobs of all tenants, or as filtered, newest first, after the job named by the cursor."""
        wanted = {name: value for name, value in (("state", state), ("kind", kind), ("tenant", tenant)) if value}
        query = select(Job).filter_by(**wanted).order_by(Job.created_at.desc(), Job.id.desc()).limit(limit)
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
        if not self._move(job_id, target, values, *_held_by(attempt), photo=photo):
            raise _lost(job_id, attempt)

    def _move(
        self,
        job_id: str,
        target: State,
        values: dict[str, Any],
        *conditions: ColumnElement[bool],
        photo: dict[str, Any] | None = None,
        actor: str = SERVICE,
    ) -> bool:
        """One conditional UPDATE: of two that want the same job, one finds no row. An end is told to the audit log."""
        change = update(Job).where(Job.id == job_id, Job.state.in_(sources(target)), *conditions)
        ended = None
        with self.engine.begin() as connection:
            moved = cast(CursorResult[Any], connection.execute(change.values(state=target, **values)))
            if moved.rowcount and photo:
                owner = select(Job.photo_id).where(Job.id == job_id).scalar_subquery()
                connection.execute(update(Photo).where(Photo.id == owner).values(**photo))
            if moved.rowcount and target in ENDS:
                ended = connection.execute(select(Job).where(Job.id == job_id)).one()
                if made := (ended.result or {}).get("fingerprints"):
                    rows = [{"fingerprint": f, "photo_id": ended.photo_id, "variant": n} for n, f in enumerate(made, 1)]
                    connection.execute(insert(Output), rows)
                append(connection, _entry(ended, ended.problem["code"] if ended.problem else target, actor))
        if ended:
            _count(ended)
        return bool(moved.rowcount)

    def _told(self, statement: Any, entry: Entry | None) -> bool:
        """Whether a statement has changed a row; if so, the audit log has the entry."""
        with self.engine.begin() as connection:
            changed = cast(CursorResult[Any], connection.execute(statement)).rowcount
            if changed and entry:
                append(connection, entry)
        return bool(changed)

    def _execute(self, statement: Any) -> int:
        with self.engine.begin() as connection:
            return cast(CursorResult[Any], connection.execute(statement)).rowcount

    def _all(self, query: Select[Job]) -> list[Job]:
        with Session(self.engine, expire_on_commit=False) as session:
            return list(session.scalars(query))

    def _count(self, query: Select[int]) -> int:
        with self.engine.connect() as connection:
            return connection.execute(query).scalar_one()


def _count(job: Row[Any]) -> None:
    """Of all processes, the one that ended a job counts it."""
    kind, method = job.kind, job.request.get("method", "")
    code = job.problem["code"] if job.problem else ""
    metrics.JOBS_ENDED.labels(kind, method, job.state, code).inc()
    if job.started_at:
        metrics.JOB_SECONDS.labels(kind, method).observe(_seconds(job.started_at, job.finished_at))


def _seconds(begin: datetime, end: datetime | None) -> float:
    """From one to the other; 0 where the clocks of two machines disagree."""
    return max(0.0, (end - begin).total_seconds()) if end else 0.0


def _in_time() -> ColumnElement[bool]:
    return or_(Job.expires_at.is_(None), Job.expires_at > now())


def _entry(job: Job | Row[Any], outcome: str, actor: str) -> Entry:
    told = {name: job.request[name] for name in TOLD if job.request.get(name) is not None}
    if made := (job.result or {}).get("fingerprints"):
        told["fingerprints"] = " ".join(made)
    if job.batch_id:
        told["batch"] = job.batch_id
    return Entry(job.kind, outcome, actor, job.tenant, job.photo_id, {"job": job.id, "for": job.actor, **told})


def _link_entry(job: Job, outcome: str, actor: str) -> Entry:
    return Entry("link", outcome, actor, job.tenant, job.photo_id, {"job": job.id})


def _held_by(attempt: int) -> tuple[ColumnElement[bool], ...]:
    """The fence: only the worker of the newest attempt writes, and only in time."""
    return Job.attempt == attempt, Job.state == State.running, _in_time()


def _lost(job_id: str, attempt: int) -> StateConflict:
    return StateConflict(f"attempt {attempt} of {job_id} has lost its lease, or the job has ended")


def _requeued(pause_seconds: float) -> dict[str, Any]:
    due = now() + timedelta(seconds=pause_seconds)
    return {"lease_until": None, "published_at": None, "due_at": due, "step": "queued"}


def _ended(**values: Any) -> dict[str, Any]:
    return {**values, "finished_at": now(), "lease_until": None}
