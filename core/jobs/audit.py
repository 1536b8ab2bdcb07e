"""The audit log: who asked for which photo, why, and what came of it; each entry's hash covers the one before.

An entry is appended in the transaction of what it tells, so that neither is there without the other. The row
`audit_tip` is the lock: of all processes that append, one at a time holds it, and it is taken last.
No face, password, key or content of a photo is ever in an entry.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC
from typing import NamedTuple

from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.orm import Session

from core import metrics
from core.errors import SiderError
from core.jobs.database import now
from core.jobs.tables import AuditEntry, AuditTip

GENESIS = "0" * 64  # what the first entry follows


@dataclass(frozen=True, slots=True)
class Entry:
    """event: protect, restore, link, erase, api_key, webhook_secret, keyring. outcome: accepted, succeeded, ... or a
    problem's code. actor: `key:<id>` of an API key, `service` or `operator`. subject: the id of what it is about."""

    event: str
    outcome: str
    actor: str
    tenant: str = ""
    subject: str = ""
    details: Mapping[str, str | int] = field(default_factory=dict)


class Tip(NamedTuple):
    """The end of the log: number and hash of its last entry."""

    seq: int
    hash: str


class Audit:
    """The log. Safe for many threads and processes."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def record(self, entry: Entry) -> None:
        """Append what has no transaction of its own."""
        with self.engine.begin() as connection:
            append(connection, entry)

    @contextmanager
    def refusals(self, entry: Entry) -> Iterator[None]:
        """Record an attempt that ends in an error, with the error's code as outcome, and let the error go on."""
        try:
            yield
        except Exception as error:
            code = error.code if isinstance(error, SiderError) else SiderError.default_code
            self.record(replace(entry, outcome=code))
            raise

    def tip(self) -> Tip:
        """The end of the log as its table tells it."""
        with self.engine.connect() as connection:
            return Tip(*connection.execute(select(AuditTip.seq, AuditTip.hash)).one())

    def walk(self, last: int) -> Iterator[AuditEntry]:
        """All entries up to a number, in order, a thousand at a time in memory."""
        query = select(AuditEntry).where(AuditEntry.seq <= last).order_by(AuditEntry.seq)
        with Session(self.engine) as session:
            yield from session.scalars(query.execution_options(yield_per=1000))

    def latest(self, limit: int, tenant: str | None = None, subject: str | None = None) -> list[AuditEntry]:
        """The newest entries, oldest first; of one tenant or one subject if named."""
        query = select(AuditEntry).order_by(AuditEntry.seq.desc()).limit(limit)
        if tenant is not None:
            query = query.where(AuditEntry.tenant == tenant)
        if subject is not None:
            query = query.where(AuditEntry.subject == subject)
        with Session(self.engine, expire_on_commit=False) as session:
            return list(session.scalars(query))[::-1]


def append(connection: Connection, entry: Entry) -> None:
    """Append to the log in the transaction of `connection`, as its last statement."""
    step = update(AuditTip).values(seq=AuditTip.seq + 1).returning(AuditTip.seq, AuditTip.hash)
    seq, previous = connection.execute(step).one()
    row = {
        "seq": seq,
        "at": now(),
        "event": entry.event,
        "outcome": entry.outcome,
        "actor": entry.actor,
        "tenant": entry.tenant,
        "subject": entry.subject,
        "details": dict(entry.details),
    }
    digest = entry_hash(previous, AuditEntry(**row))
    connection.execute(insert(AuditEntry).values(**row, hash=digest))
    connection.execute(update(AuditTip).values(hash=digest))
    metrics.AUDIT_ENTRIES.labels(entry.event, entry.outcome).inc()


def entry_hash(previous: str, row: AuditEntry) -> str:
    """sha256, hex, of the hash before and everything an entry says."""
    at = row.at.astimezone(UTC).isoformat(timespec="microseconds")  # PostgreSQL answers in the session's zone
    said = [previous, row.seq, at, row.event, row.outcome, row.actor, row.tenant, row.subject, row.details]
    return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
