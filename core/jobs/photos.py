"""Photos under our care."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Engine, delete, null, select, update
from sqlalchemy.orm import Session

from core.errors import NotFound
from core.jobs.audit import Entry, append
from core.jobs.database import now
from core.jobs.tables import Job, Output, Photo, is_id


class Photos:
    """The photo table."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def get(self, photo_id: str, tenant: str) -> Photo:
        """One photo of a tenant.

        Raises:
            NotFound: no such photo for this tenant, or it was erased.
        """
        with Session(self.engine, expire_on_commit=False) as session:
            photo = session.get(Photo, photo_id) if is_id(photo_id) else None
        if photo is None or photo.tenant != tenant or photo.erased_at is not None:
            raise NotFound("no such photo")
        return photo

    def made_before(self, time: datetime, limit: int) -> list[Photo]:
        """Photos of all tenants that came before this time and were not erased, oldest first."""
        kept = select(Photo).where(Photo.erased_at.is_(None), Photo.created_at < time)
        with Session(self.engine, expire_on_commit=False) as session:
            return list(session.scalars(kept.order_by(Photo.created_at).limit(limit)))

    def kept(self, photo: Photo) -> bool:
        """Whether a photo is still not erased."""
        with self.engine.connect() as connection:
            return connection.scalar(select(Photo.erased_at).where(Photo.id == photo.id)) is None

    def made(self, candidates: Sequence[str], tenant: str | None) -> list[tuple[Photo, int]]:
        """Photos of which one of these is a variant's fingerprint, and which variant; of `tenant` only, unless None."""
        query = select(Photo, Output.variant).join(Output)
        query = query.where(Output.fingerprint.in_(candidates), Photo.erased_at.is_(None))
        if tenant is not None:
            query = query.where(Photo.tenant == tenant)
        with Session(self.engine, expire_on_commit=False) as session:
            return [(photo, variant) for photo, variant in session.execute(query.order_by(Photo.created_at))]

    def mark_erased(self, photo_id: str, receipt: Entry) -> None:
        """From now on nobody finds it. What was measured and fingerprints go too; but the audit log keeps them."""
        first = update(Photo).where(Photo.id == photo_id, Photo.erased_at.is_(None))
        with self.engine.begin() as connection:
            # Jobs before photo, as where a job ends: of the two at once one waits for the other, and neither for both.
            forget(connection, Job.photo_id == photo_id)
            # Owed once more: what a worker stored meanwhile, should whoever erases end before its second round.
            connection.execute(update(Job).where(Job.photo_id == photo_id).values(cleared_at=None))
            if connection.execute(first.values(erased_at=now(), report=None)).rowcount:
                connection.execute(delete(Output).where(Output.photo_id == photo_id))
                append(connection, receipt)


def forget(connection: Connection, which: ColumnElement[bool]) -> None:
    """Take from jobs what tells of a photo: report, fingerprints, the original's digest. A problem's code stays."""
    connection.execute(update(Job).where(which).values(result=null()))
    for job in connection.execute(select(Job.id, Job.problem).where(which)).all():
        if job.problem:
            bare = {**job.problem, "details": {}}
            connection.execute(update(Job).where(Job.id == job.id).values(problem=bare))
