"""Idempotency-Key: a request that is sent again is answered again, not done again.

What is kept for it is bound to the caller: row, fingerprint and answer come from keys derived from the API key's text
and the Idempotency-Key, and the service stores neither. So the table tells nobody which key was used or which password
came with a photo, another caller's key finds nothing, and the answer of a repeated request can be complete: even the
restore code, which is nowhere else, is given again to who already had the right to it, and to nobody else.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from fastapi import Depends, Header, Request
from pydantic import BaseModel, SecretStr, TypeAdapter
from sqlalchemy.orm import Session

from api.auth import credential
from api.parts import Parts, parts
from api.schemas import Acceptance
from core.jobs.receipts import Receipts, Reservation

NONCE_BYTES = 12
ANSWER: TypeAdapter[Acceptance] = TypeAdapter(Acceptance)
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key", min_length=1, max_length=255, pattern=r"^[\x20-\x7e]+$",
        description="for 24 hours, the same key with the same payload is answered as the first time, and nothing is "
        "done twice; with another payload it is refused. Any text of your own, best a UUID.",
    ),
]  # fmt: skip


@dataclass(slots=True)
class Attempt:
    """One request under an Idempotency-Key, or under none. `earlier` is the answer of the first one."""

    earlier: Acceptance | None = None
    reservation: Reservation | None = None
    seal_key: bytes = field(default=b"", repr=False)

    def sign(self, session: Session, answer: Acceptance) -> None:
        """Keep the answer; to be called in the transaction that adds the job (StateConflict)."""
        if self.reservation:
            nonce = secrets.token_bytes(NONCE_BYTES)
            plain = answer.model_dump_json().encode()
            sealed = nonce + AESGCM(self.seal_key).encrypt(nonce, plain, self.reservation.id.encode())
            self.reservation.sign(session, sealed)


@dataclass(frozen=True, slots=True)
class Once:
    """The Idempotency-Key of a request, if it has one, made into keys that only this caller can make."""

    receipts: Receipts
    receipt_id: str | None = None
    print_key: bytes = field(default=b"", repr=False)
    seal_key: bytes = field(default=b"", repr=False)

    @contextmanager
    def attempt(self, form: BaseModel, photos: Iterable[bytes]) -> Iterator[Attempt]:
        """The first attempt at this request, or what came of it; given up if the block raises. Photos are read once,
        or not at all.

        Raises:
            RequestRefused: the key came with another payload.
            StateConflict: the first attempt is not over.
        """
        if self.receipt_id is None:
            yield Attempt()
            return
        found = self.receipts.reserve(self.receipt_id, self._fingerprint(form, photos))
        if isinstance(found, bytes):
            yield Attempt(earlier=self._open(found))
            return
        try:
            yield Attempt(reservation=found, seal_key=self.seal_key)
        except BaseException:
            self.receipts.release(found)
            raise

    def _open(self, sealed: bytes) -> Acceptance:
        assert self.receipt_id  # noqa: S101
        nonce, text = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        return ANSWER.validate_json(AESGCM(self.seal_key).decrypt(nonce, text, self.receipt_id.encode()))

    def _fingerprint(self, form: BaseModel, photos: Iterable[bytes]) -> str:
        # Not what is so by default: to a release with one more field, a request without it is the same as before.
        known = type(form).model_fields
        fields = {name: _plain(value) for name, value in form if name != "photo" and value != known[name].default}
        text = json.dumps(fields, sort_keys=True).encode()
        # Of many each one's digest, so that it tells where one ends; of one itself, as receipts of older releases have.
        each = iter(photos)
        first = next(each, b"")
        others = [hashlib.sha256(photo).digest() for photo in each]
        payload = b"".join((hashlib.sha256(first).digest(), *others)) if others else first
        return hmac.digest(self.print_key, len(text).to_bytes(8) + text + payload, "sha256").hex()


def once(
    request: Request,
    found: Annotated[Parts, Depends(parts)],
    text: Annotated[str, Depends(credential)],
    idempotency_key: IdempotencyKey = None,
) -> Once:
    """Dependency: the request's Idempotency-Key, bound to the caller and the endpoint."""
    if idempotency_key is None:
        return Once(found.receipts)
    # One part names the row, one makes fingerprints, one seals the answer: none tells another.
    info = f"sider idempotency 1\n{request.method} {request.url.path}\n{idempotency_key}".encode()
    derived = HKDF(SHA256(), 96, salt=None, info=info).derive(text.encode())
    return Once(found.receipts, derived[:32].hex(), derived[32:64], derived[64:])


def _plain(value: Any) -> Any:
    return value.get_secret_value() if isinstance(value, SecretStr) else value
