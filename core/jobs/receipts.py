"""First answers of requests that carried an Idempotency-Key: what makes a repeated request harmless.

A receipt is reserved before the work and signed in the transaction that adds the job, so there is never one without
the other. Nothing here can be read or tested by whoever has the table: see api/idempotency.py.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta
from hmac import compare_digest
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, Engine, and_, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.errors import RequestRefused, StateConflict
from core.jobs.database import now
from core.jobs.tables import Receipt

KEPT = timedelta(hours=24)
# Longer than any request takes; then its process has died, and the next may have the key.
RESERVED = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Reservation:
    """A receipt that is ours to sign. token: whose it is, should another take it over."""

    id: str
    token: str

    def sign(self, session: Session, answer: bytes) -> None:
        """Keep the answer, in the transaction of what it promises.

        Raises:
            StateConflict: the reservation was so old that another request has taken it.
        """
        mine = update(Receipt).where(Receipt.id == self.id, Receipt.token == self.token, Receipt.answer.is_(None))
        if not cast(CursorResult[Any], session.execute(mine.values(answer=answer))).rowcount:
            raise _in_progress()


class Receipts:
    """The table of first answers."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def reserve(self, receipt_id: str, fingerprint: str) -> Reservation | bytes:
        """The answer that was signed before, else a new reservation.

        Raises:
            RequestRefused: the same key came with another payload.
            StateConflict: the first request with this key is still being answered.
        """
        ours = Reservation(receipt_id, secrets.token_hex(16))
        row = {"id": ours.id, "token": ours.token, "fingerprint": fingerprint, "created_at": now()}
        try:
            with self.engine.begin() as connection:
                connection.execute(delete(Receipt).where(Receipt.id == receipt_id, _over()))
                connection.execute(insert(Receipt).values(row))
        except IntegrityError:
            return self._signed(receipt_id, fingerprint)
        return ours

    def release(self, reservation: Reservation) -> None:
        """The request was refused: the next one with this key is a first one."""
        unsigned = (Receipt.token == reservation.token, Receipt.answer.is_(None))
        with self.engine.begin() as connection:
            connection.execute(delete(Receipt).where(Receipt.id == reservation.id, *unsigned))

    def sweep(self) -> None:
        """Forget what is over."""
        with self.engine.begin() as connection:
            connection.execute(delete(Receipt).where(_over()))

    def _signed(self, receipt_id: str, fingerprint: str) -> bytes:
        query = select(Receipt.fingerprint, Receipt.answer).where(Receipt.id == receipt_id)
        with self.engine.connect() as connection:
            found = connection.execute(query).one_or_none()
        if found and not compare_digest(found.fingerprint, fingerprint):
            raise RequestRefused("this Idempotency-Key came with another payload before", code="idempotency_key_reused")
        if not found or found.answer is None:
            raise _in_progress()
        return bytes(found.answer)


def _over() -> ColumnElement[bool]:
    abandoned = and_(Receipt.answer.is_(None), Receipt.created_at < now() - RESERVED)
    return or_(Receipt.created_at < now() - KEPT, abandoned)


def _in_progress() -> StateConflict:
    return StateConflict(
        "the first request with this Idempotency-Key is still being answered",
        code="idempotency_in_progress",
        details={"retry_after": 1},
    )
