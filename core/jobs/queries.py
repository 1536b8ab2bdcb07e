"""What the job table is asked: jobs by their ids, owners, batches and duties."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Engine, Select, func, or_, select
from sqlalchemy.orm import Session

from core.errors import NotFound
from core.jobs.database import now
from core.jobs.states import State
from core.jobs.tables import Job, is_id


class JobQueries:
    """Nothing here writes."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def get(self, job_id: str, tenant: str | None = None) -> Job:
        """One job; of `tenant` only, unless None.

        Raises:
            NotFound: no such job for this tenant.
        """
        with Session(self.engine, expire_on_commit=False) as session:
            job = session.get(Job, job_id) if is_id(job_id) else None
        if job is None or (tenant is not None and job.tenant != tenant):
            raise NotFound("no such job")
        return job

    def uncleared(self, grace_seconds: float, limit: int = 100) -> list[Job]:
        """Ended jobs that may still have something in the store, oldest first.

        One that had a worker is left to it for the grace: until the worker has noticed it may still write.
        """
        over = or_(Job.attempt == 0, Job.finished_at < now() - timedelta(seconds=grace_seconds))
        query = select(Job).where(Job.cleared_at.is_(None), Job.finished_at.is_not(None), over)
        return self._all(query.order_by(Job.finished_at).limit(limit))

    def unpublished(self, older_than_seconds: float = 2.0) -> list[str]:
        """Queued jobs whose message is due and was not sent, oldest first."""
        cut = now() - timedelta(seconds=older_than_seconds)
        query = select(Job).where(*unsent(), Job.created_at < cut)
        return [job.id for job in self._all(query.order_by(Job.created_at))]

    def restored_before(self, time: datetime, limit: int) -> list[Job]:
        """Restorations that ended before this time and whose originals are still in the store, oldest first."""
        ended = (Job.kind == "restore", Job.withdrawn_at.is_(None), Job.finished_at < time)
        return self._all(select(Job).where(*ended).order_by(Job.finished_at).limit(limit))

    def of_photo(self, photo_id: str) -> list[Job]:
        """All jobs of a photo."""
        return self._all(select(Job).where(Job.photo_id == photo_id))

    def of_batch(self, batch_id: str, tenant: str) -> list[Job]:
        """The jobs that a tenant's photos were accepted with, in the order of the photos (NotFound)."""
        query = select(Job).where(Job.batch_id == batch_id, Job.tenant == tenant)
        if not is_id(batch_id) or not (jobs := self._all(query.order_by(Job.created_at))):
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

    def _all(self, query: Select[Job]) -> list[Job]:
        with Session(self.engine, expire_on_commit=False) as session:
            return list(session.scalars(query))

    def _count(self, query: Select[int]) -> int:
        with self.engine.connect() as connection:
            return connection.execute(query).scalar_one()


def unsent() -> tuple[ColumnElement[bool], ...]:
    """Of queued jobs whose message is due and was not sent."""
    due = or_(Job.due_at.is_(None), Job.due_at <= now())
    return Job.state == State.queued, Job.published_at.is_(None), due
