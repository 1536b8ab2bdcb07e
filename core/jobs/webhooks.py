"""Webhooks, as Standard Webhooks 1.0 has them: what is owed to whom, who signs, when it is tried again.

A delivery is added with its job, in one transaction, and due as soon as the job has ended: no crash loses it.
"""

from __future__ import annotations

import base64
import ipaddress
import secrets
from datetime import timedelta
from typing import Any, cast
from urllib.parse import urlsplit

from sqlalchemy import CursorResult, Engine, delete, func, or_, select, update
from sqlalchemy.orm import Session

from core.errors import NotFound, RequestRefused
from core.jobs.audit import Entry, append
from core.jobs.database import now
from core.jobs.keys import check_tenant
from core.jobs.repository import new_id
from core.jobs.signatures import PREFIX
from core.jobs.states import ENDS
from core.jobs.tables import Delivery, Job, WebhookSecret
from core.vault.envelope import Binding, open_sealed, seal
from core.vault.keyring import Keyring
from core.vault.rewrap import Item

SECRET_BYTES = 32
MAX_URL = 500
# So long an older secret signs beside the newest, for receivers to change over.
ROTATION = timedelta(hours=24)
# Seconds from a failed attempt to the next: the standard's schedule, three days in all.
PAUSES = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
# Up to so much of a pause is added at random: receivers that come back must not meet everybody at once.
JITTER = 0.1
# Deliveries that are done or given up are there so long for who asks why.
KEPT = timedelta(days=30)
# So long one attempt may take; after a crash in its middle it is made again.
ATTEMPT_SECONDS = 60


class Webhooks:
    """Deliveries and the secrets of their receivers."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def new_secret(self, tenant: str, keyring: Keyring) -> str:
        """A fresh secret of a tenant, in the standard's form; the one before it signs for another day.

        Raises:
            RequestRefused: unusable tenant name.
        """
        check_tenant(tenant)
        plain, row_id = secrets.token_bytes(SECRET_BYTES), new_id("whs")
        sealed = seal(plain, _binding(tenant, row_id), keyring)
        retire = update(WebhookSecret).where(WebhookSecret.tenant == tenant, WebhookSecret.retires_at.is_(None))
        with Session(self.engine) as session, session.begin():
            session.execute(retire.values(retires_at=now() + ROTATION))
            session.add(WebhookSecret(id=row_id, tenant=tenant, sealed=sealed, created_at=now()))
            session.flush()
            append(session.connection(), Entry("webhook_secret", "issued", "operator", tenant, row_id))
        return PREFIX + base64.b64encode(plain).decode()

    def secrets(self, tenant: str, keyring: Keyring) -> list[bytes]:
        """The secrets that sign for a tenant, newest first."""
        alive = or_(WebhookSecret.retires_at.is_(None), WebhookSecret.retires_at > now())
        query = select(WebhookSecret).where(WebhookSecret.tenant == tenant, alive)
        with Session(self.engine) as session:
            rows = session.scalars(query.order_by(WebhookSecret.created_at.desc())).all()
            return [open_sealed(row.sealed, _binding(tenant, row.id), keyring) for row in rows]

    def check(self, url: str, tenant: str, private: bool) -> None:
        """Refuse a URL that could not be delivered to. private: plain http is fine, for tests.

        Raises:
            RequestRefused: it is no https URL, it carries a password, it names an address that is not public, or the
                tenant has no secret to sign with.
        """
        try:
            parts = urlsplit(url)
            written = url.isascii() and url.isprintable()  # urlsplit overlooks some that are neither
            usable = bool(parts.hostname) and parts.port != 0 and parts.username is None and written
        except ValueError:
            usable = False
        if not usable or parts.scheme not in (("https", "http") if private else ("https",)):
            raise RequestRefused("webhook_url is no https URL, or names a user", code="webhook_refused")
        if not private and _within(str(parts.hostname)):
            raise RequestRefused("webhook_url leads to no public address", code="webhook_refused")
        with Session(self.engine) as session:
            if session.scalar(select(WebhookSecret.id).where(WebhookSecret.tenant == tenant).limit(1)) is None:
                message = "no webhook secret; the operator makes one: sider webhooks secret TENANT"
                raise RequestRefused(message, code="webhook_refused")

    def due(self, limit: int = 50) -> list[tuple[Delivery, Job]]:
        """Deliveries to be attempted now, with the ended jobs they tell of; tenants in turn."""
        place = func.row_number().over(partition_by=Delivery.tenant, order_by=Delivery.due_at).label("place")
        waiting = select(Delivery.id, place).join(Job, Job.id == Delivery.job_id)
        ranked = waiting.where(Delivery.due_at <= now(), Job.state.in_(ENDS)).subquery()
        query = select(Delivery, Job).join(Job, Job.id == Delivery.job_id).join(ranked, ranked.c.id == Delivery.id)
        query = query.order_by(ranked.c.place, Delivery.due_at).limit(limit)
        with Session(self.engine, expire_on_commit=False) as session:
            return [(delivery, job) for delivery, job in session.execute(query)]

    def claim(self, delivery: Delivery) -> bool:
        """Take the next attempt of a delivery; of two that want it, one gets it."""
        mine = update(Delivery).where(Delivery.id == delivery.id, Delivery.attempts == delivery.attempts)
        values = {"attempts": delivery.attempts + 1, "due_at": now() + timedelta(seconds=ATTEMPT_SECONDS)}
        return bool(self._change(mine.where(Delivery.due_at.is_not(None)), values))

    def delivered(self, delivery_id: str, answer: str) -> None:
        """The receiver has it."""
        row = update(Delivery).where(Delivery.id == delivery_id)
        self._change(row, {"delivered_at": now(), "due_at": None, "answer": answer})

    def failed(self, delivery_id: str, attempt: int, answer: str, gone: bool = False) -> bool:
        """The attempt-th attempt failed: try again later, unless the receiver is gone or the schedule is used up.

        Whether it will be tried again.
        """
        due = None
        if not gone and attempt <= len(PAUSES):
            pause = PAUSES[attempt - 1]
            due = now() + timedelta(seconds=pause * (1 + JITTER * secrets.randbelow(1000) / 1000))
        row = update(Delivery).where(Delivery.id == delivery_id, Delivery.delivered_at.is_(None))
        self._change(row, {"due_at": due, "answer": answer})
        return due is not None

    def sweep(self) -> None:
        """Forget what was delivered or given up long ago: its URL may hold a customer's token."""
        over = (Delivery.due_at.is_(None), Delivery.created_at < now() - KEPT)
        with self.engine.begin() as connection:
            connection.execute(delete(Delivery).where(*over))

    def items(self) -> list[Item]:
        """Everything here that the keyring has sealed."""
        with Session(self.engine) as session:
            rows = session.execute(select(WebhookSecret.id, WebhookSecret.tenant)).all()
        return [Item(self, row.id, _binding(row.tenant, row.id)) for row in rows]

    def get_tagged(self, key: str) -> tuple[bytes, str]:
        """A sealed secret by its id, as rewrap reads it (NotFound)."""
        with Session(self.engine) as session:
            sealed = session.scalar(select(WebhookSecret.sealed).where(WebhookSecret.id == key))
        if sealed is None:
            raise NotFound("no such webhook secret")
        return sealed, sealed.hex()

    def replace(self, key: str, data: bytes, tag: str) -> bool:
        """Write a sealed secret if it is still the one that was read; whether it was."""
        read = update(WebhookSecret).where(WebhookSecret.id == key, WebhookSecret.sealed == bytes.fromhex(tag))
        return bool(self._change(read, {"sealed": data}))

    def _change(self, statement: Any, values: dict[str, Any]) -> int:
        with self.engine.begin() as connection:
            return cast(CursorResult[Any], connection.execute(statement.values(values))).rowcount


def delivery_of(job: Job, url: str) -> Delivery:
    """The row of a new delivery."""
    return Delivery(
        id=new_id("msg"), job_id=job.id, tenant=job.tenant, url=url,
        attempts=0, due_at=job.created_at, created_at=job.created_at,
    )  # fmt: skip


def public(address: str) -> bool:
    """Whether an IP address is global, and no wrapping of an address of the other kind that might not be (ValueError:
    it is none)."""
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv6Address):
        wrapping = found.ipv4_mapped or found.sixtofour or found.teredo
        if wrapping or found.is_site_local:  # fec0::/10 was given up in 2004, and is global to Python
            return False
    return found.is_global and not found.is_multicast and not found.is_reserved


def _within(host: str) -> bool:
    """Whether a URL's host is plainly not to be reached from outside. Where other names lead is seen when it is due."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return not public(host)
    except ValueError:
        return False


def _binding(tenant: str, secret_id: str) -> Binding:
    return Binding(tenant, secret_id, "webhook-secret")
