"""Jobs: the table is the truth, the queue only a hint.

Every write of a worker names its attempt; a worker that lost its lease has an old one and is refused.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, CursorResult, Row, func, insert, null, or_, select, update
from sqlalchemy.orm import Session

from core import metrics
from core.errors import StateConflict
from core.jobs.audit import Entry, append
from core.jobs.database import now
from core.jobs.message import VERSION
from core.jobs.photos import forget
from core.jobs.queries import JobQueries, unsent
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


class Jobs(JobQueries):
    """The job table. Safe for many threads and processes."""

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
        the fingerprints of the result. If the photo was erased meanwhile, only the audit log keeps
        any of these.

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

    def release(self, job_id: str, attempt: int, pause_seconds: float | None = None) -> None:
        """Hand a running job back for another try; after a pause if something was away, which is counted.

        Raises:
            StateConflict: as heartbeat.
        """
        counted = {} if pause_seconds is None else {"setbacks": Job.setbacks + 1}
        self._leave(job_id, State.queued, attempt, _requeued(pause_seconds or 0.0) | counted)

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

    def mark_cleared(self, job: Job) -> None:
        """Nothing of an ended job is left in the store that should not be; nothing is noted if its photo was erased
        since it was read: then its result is gone, and there is more to delete."""
        same = Job.result.is_(null()) if job.result is None else Job.result.is_not(null())
        self._execute(update(Job).where(Job.id == job.id, same).values(cleared_at=now()))

    def republish_stale(self, older_than_seconds: float) -> int:
        """Forget that messages were sent which nobody has picked up for so long: the queue may have lost them.

        A duplicate is harmless, because a claim is atomic.
        """
        cut = now() - timedelta(seconds=older_than_seconds)
        stale = update(Job).where(Job.state == State.queued, Job.published_at < cut)
        return self._execute(stale.values(published_at=None))

    def publish(self, job_id: str, send: Callable[[str], None]) -> bool:
        """Send the message of a job if it is due and nobody else sends it; whether it was.

        Noted before it is sent, so nobody notes it of a job that was claimed and handed back meanwhile. What a crash
        leaves noted and not sent, `republish_stale` finds.
        """
        if not self._execute(update(Job).where(Job.id == job_id, *unsent()).values(published_at=now())):
            return False
        try:
            send(job_id)
        except BaseException:
            self._execute(update(Job).where(Job.id == job_id, Job.state == State.queued).values(published_at=None))
            raise
        return True

    def give_link(self, job: Job, actor: str) -> bool:
        """Whether the link to this job's restored photo may be given: to one caller, once, unless it was deleted."""
        kept = select(Photo.id).where(Photo.erased_at.is_(None))
        once = update(Job).where(Job.id == job.id, Job.state == State.succeeded, Job.photo_id.in_(kept))
        once = once.where(Job.link_given_at.is_(None), Job.withdrawn_at.is_(None))
        return self._told(once.values(link_given_at=now()), _link_entry(job, "given", actor))

    def mark_withdrawn(self, job: Job) -> None:
        """The restored original is no more."""
        first = update(Job).where(Job.id == job.id, Job.withdrawn_at.is_(None)).values(withdrawn_at=now())
        self._told(first, _link_entry(job, "withdrawn", SERVICE) if job.state == State.succeeded else None)

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
            if moved.rowcount and target in ENDS:
                ended = connection.execute(select(Job).where(Job.id == job_id)).one()
                # Erasure takes the rows of the jobs first: while we have ours, the answer stays true.
                if connection.scalar(select(Photo.erased_at).where(Photo.id == ended.photo_id)):
                    forget(connection, Job.id == job_id)
                else:
                    _keep(connection, ended, photo)
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


def _keep(connection: Connection, job: Row[Any], photo: dict[str, Any] | None) -> None:
    """What a job that ended tells of its photo."""
    if photo:
        connection.execute(update(Photo).where(Photo.id == job.photo_id).values(**photo))
    if made := (job.result or {}).get("fingerprints"):
        rows = [{"fingerprint": f, "photo_id": job.photo_id, "variant": n} for n, f in enumerate(made, 1)]
        connection.execute(insert(Output), rows)


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
