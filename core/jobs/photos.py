"""Photos under our care."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Engine, delete, select, update
from sqlalchemy.orm import Session

from core.errors import NotFound
from core.jobs.audit import Entry, append
from core.jobs.database import now
from core.jobs.tables import Output, Photo


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
            photo = session.get(Photo, photo_id)
        if photo is None or photo.tenant != tenant or photo.erased_at is not None:
            raise NotFound("no such photo")
        return photo

    def made_before(self, time: datetime, limit: int) -> list[Photo]:
        """Photos of all tenants that came before this time and were not erased, oldest first."""
        kept = select(Photo).where(Photo.erased_at.is_(None), Photo.created_at < time)
        with Session(self.engine, expire_on_commit=False) as session:
            return list(session.scalars(kept.order_by(Photo.created_at).limit(limit)))

    def made(self, candidates: Sequence[str], tenant: str | None) -> list[tuple[Photo, int]]:
        """Photos of which one of these is a variant's fingerprint, and which variant; of `tenant` only, unless None."""
        query = select(Photo, Output.variant).join(Output)
        query = query.where(Output.fingerprint.in_(candidates), Photo.erased_at.is_(None))
        if tenant is not None:
            query = query.where(Photo.tenant == tenant)
        with Session(self.engine, expire_on_commit=False) as session:
            return [(photo, variant) for photo, variant in session.execute(query.order_by(Photo.created_at))]

    def mark_erased(self, photo_id: str, receipt: Entry) -> None:
        """From now on nobody finds it. Report and fingerprints go too; row and audit log keep the receipt."""
        first = update(Photo).where(Photo.id == photo_id, Photo.erased_at.is_(None))
        with self.engine.begin() as connection:
            if connection.execute(first.values(erased_at=now(), report=None)).rowcount:
                connection.execute(delete(Output).where(Output.photo_id == photo_id))
                append(connection, receipt)
