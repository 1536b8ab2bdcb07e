"""The tables. No password, key, face or file name is ever a column; times are UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Float, ForeignKey, Index, Integer, LargeBinary, String, TypeDecorator
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from core.jobs.message import VERSION

LONGEST_NAME = 80  # of an API key, characters


class UTCDateTime(TypeDecorator[datetime]):
    """Aware datetimes in, aware datetimes out: SQLite itself forgets the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value


def is_id(text: str) -> bool:
    """Whether a row can have this id. Others are not asked for: PostgreSQL takes no NUL bytes."""
    return re.fullmatch(r"\w{1,40}", text, re.ASCII) is not None


class Base(DeclarativeBase):
    type_annotation_map = {datetime: UTCDateTime(), dict[str, Any]: JSON()}  # noqa: RUF012


class Photo(Base):
    """A photo under our care. report: the measured promise; custody: see core.vault.custody.

    attempt: the run of its job that succeeded; each run names its objects, so none writes over another's.
    """

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
    attempt: Mapped[int | None] = mapped_column(Integer)
    erased_at: Mapped[datetime | None]

    __table_args__ = (Index("ix_photos_kept", "erased_at", "created_at"),)

    @property
    def made(self) -> str:
        """What its objects are named by."""
        return made_by(self.id, self.attempt)


def made_by(photo_id: str, attempt: int | None) -> str:
    """What the objects of a run are named by; None: of a release that did not tell runs apart."""
    return photo_id if attempt is None else f"{photo_id}.{attempt}"


class Output(Base):
    """A protected picture that was made; see core.vault.provenance. It may be the same for two photos."""

    __tablename__ = "outputs"

    fingerprint: Mapped[str] = mapped_column(String(64), primary_key=True)
    photo_id: Mapped[str] = mapped_column(ForeignKey("photos.id"), primary_key=True, index=True)
    variant: Mapped[int] = mapped_column(Integer, primary_key=True)


class Job(Base):
    """A unit of work. attempt counts runs and fences: a worker whose attempt is not the row's writes nothing.

    version: of its request; a worker that does not know it leaves it alone. crashes: runs that were lost with their
    worker; setbacks: those that ended because something was away. due_at: not sent to the queue again before.
    cleared_at: upload and secret, and all that a job without success has made, are gone from the store. withdrawn_at:
    so is the original that it restored. actor: who asked for it, as the audit log names it. batch_id: of the jobs that
    were accepted together, None for one alone. request_id, traceparent: of the request, for the logs and traces of its
    worker.
    """

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    photo_id: Mapped[str] = mapped_column(ForeignKey("photos.id"))
    request: Mapped[dict[str, Any]]
    result: Mapped[dict[str, Any] | None]
    problem: Mapped[dict[str, Any] | None]
    version: Mapped[int] = mapped_column(Integer, default=VERSION)
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    crashes: Mapped[int] = mapped_column(Integer, default=0)
    setbacks: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    step: Mapped[str] = mapped_column(String(32), default="queued")
    progress: Mapped[float] = mapped_column(Float, default=0.0)
    lease_until: Mapped[datetime | None]
    created_at: Mapped[datetime]
    due_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    published_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    cleared_at: Mapped[datetime | None]
    link_given_at: Mapped[datetime | None]
    actor: Mapped[str] = mapped_column(String(40), default="")
    withdrawn_at: Mapped[datetime | None]
    batch_id: Mapped[str | None] = mapped_column(String(40))
    request_id: Mapped[str | None] = mapped_column(String(64))
    traceparent: Mapped[str | None] = mapped_column(String(55))

    __table_args__ = (
        Index("ix_jobs_state_created", "state", "created_at"),
        Index("ix_jobs_tenant_created", "tenant", "created_at"),
        Index("ix_jobs_photo", "photo_id"),
        Index("ix_jobs_cleared", "cleared_at", "finished_at"),
        Index("ix_jobs_withdrawn", "kind", "withdrawn_at", "finished_at"),
        Index("ix_jobs_finished", "finished_at"),
        Index("ix_jobs_batch", "batch_id"),
    )


class Receipt(Base):
    """The first answer to a request with an Idempotency-Key; sealed, and None while it is worked on.

    id, fingerprint: keyed digests of the key and of the payload. token: whose reservation it is.
    """

    __tablename__ = "receipts"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    token: Mapped[str] = mapped_column(String(32))
    fingerprint: Mapped[str] = mapped_column(String(64))
    answer: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(index=True)


class Delivery(Base):
    """A webhook that is owed. due_at: of the next attempt; None when there is none. answer: status or kind of error."""

    __tablename__ = "deliveries"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    tenant: Mapped[str] = mapped_column(String(64))
    url: Mapped[str] = mapped_column(String(500))
    attempts: Mapped[int] = mapped_column(Integer)
    answer: Mapped[str | None] = mapped_column(String(40))
    due_at: Mapped[datetime | None]
    delivered_at: Mapped[datetime | None]
    created_at: Mapped[datetime]

    __table_args__ = (Index("ix_deliveries_due", "due_at", "created_at"),)


class WebhookSecret(Base):
    """What signs a tenant's webhooks, sealed by the keyring. retires_at: None for the newest."""

    __tablename__ = "webhook_secrets"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64), index=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]
    retires_at: Mapped[datetime | None]


class ApiKey(Base):
    """A credential: only the hash of its secret is kept."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(LONGEST_NAME))
    secret_sha256: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[str] = mapped_column(String(80))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class Worker(Base):
    """A worker process that has loaded its networks. id: host and process. seen_at: its last sign of life.

    memory_bytes: the most it ever took; device_bytes: the same of an accelerator, None without one.
    """

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(String(80), primary_key=True)
    version: Mapped[str] = mapped_column(String(20))
    device: Mapped[str] = mapped_column(String(80))
    bundle: Mapped[str] = mapped_column(String(80))
    memory_bytes: Mapped[int] = mapped_column(BigInteger)
    device_bytes: Mapped[int | None] = mapped_column(BigInteger)
    job_id: Mapped[str | None] = mapped_column(String(40))
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]


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
