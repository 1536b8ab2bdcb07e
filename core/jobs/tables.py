"""The tables. No password, key, face or file name is ever a column; times are UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Float, ForeignKey, Index, Integer, String, TypeDecorator
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class UTCDateTime(TypeDecorator[datetime]):
    """Aware datetimes in, aware datetimes out: SQLite itself forgets the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value


class Base(DeclarativeBase):
    type_annotation_map = {datetime: UTCDateTime(), dict[str, Any]: JSON()}  # noqa: RUF012


class Photo(Base):
    """A photo under our care. report: the measured promise; custody: see core.vault.custody."""

    __tablename__ = "photos"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64), index=True)
    method: Mapped[str] = mapped_column(String(32))
    preset: Mapped[str] = mapped_column(String(32))
    variants: Mapped[int] = mapped_column(Integer)
    custody: Mapped[str] = mapped_column(String(8), default="split")
    report: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime]
    protected_at: Mapped[datetime | None]
    erased_at: Mapped[datetime | None]

    __table_args__ = (Index("ix_photos_kept", "erased_at", "created_at"),)


class Job(Base):
    """A unit of work. attempt counts runs and fences: a worker whose attempt is not the row's writes nothing.
    actor: who asked for it, as the audit log names it; withdrawn_at: when a restored original was deleted."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    photo_id: Mapped[str] = mapped_column(ForeignKey("photos.id"))
    request: Mapped[dict[str, Any]]
    result: Mapped[dict[str, Any] | None]
    problem: Mapped[dict[str, Any] | None]
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    step: Mapped[str] = mapped_column(String(32), default="queued")
    progress: Mapped[float] = mapped_column(Float, default=0.0)
    lease_until: Mapped[datetime | None]
    created_at: Mapped[datetime]
    published_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    link_given_at: Mapped[datetime | None]
    actor: Mapped[str] = mapped_column(String(40), default="")
    withdrawn_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_jobs_state_created", "state", "created_at"),
        Index("ix_jobs_tenant_created", "tenant", "created_at"),
        Index("ix_jobs_photo", "photo_id"),
        Index("ix_jobs_withdrawn", "kind", "withdrawn_at", "finished_at"),
    )


class ApiKey(Base):
    """A credential: only the hash of its secret is kept."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(80))
    secret_sha256: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[str] = mapped_column(String(80))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class AuditEntry(Base):
    """One line of the audit log; see core.jobs.audit. hash: of the entry before and of all that this one says."""

    __tablename__ = "audit_entries"

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    event: Mapped[str] = mapped_column(String(16))
    outcome: Mapped[str] = mapped_column(String(40))
    actor: Mapped[str] = mapped_column(String(40))
    tenant: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(String(40))
    details: Mapped[dict[str, Any]]
    hash: Mapped[str] = mapped_column(String(64))

    __table_args__ = (Index("ix_audit_tenant", "tenant", "seq"), Index("ix_audit_subject", "subject", "seq"))


class AuditTip(Base):
    """The one row that says where the audit log ends."""

    __tablename__ = "audit_tip"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[str] = mapped_column(String(64))
