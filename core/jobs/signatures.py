"""Signatures of webhooks, as Standard Webhooks 1.0 has them: made by the worker, checked by who receives them."""

from __future__ import annotations

import base64
import hmac
import time

TOLERANCE_SECONDS = 300  # a message that is older, or later, may have been recorded and sent again
PREFIX = "whsec_"
MIN_KEY_BYTES = 24  # the standard's; with the empty key, of a setting that was forgotten, everybody can sign


def key_of(secret: str) -> bytes:
    """The key that is in a secret (`whsec_...`); space around it, as files have it, does no harm.

    Raises:
        ValueError: the prefix is missing, what follows is not base64, or it is too short.
    """
    text = secret.strip()
    if not text.startswith(PREFIX):
        raise ValueError(f"a webhook secret begins with {PREFIX}")
    return _checked(base64.b64decode(text.removeprefix(PREFIX), validate=True))


def sign(keys: list[bytes], message_id: str, timestamp: int, body: bytes) -> str:
    """The header field `webhook-signature`: one HMAC-SHA256 a key, of id, timestamp (Unix, s) and body.

    Raises:
        ValueError: a key is too short.
    """
    signed = f"{message_id}.{timestamp}.".encode() + body
    digests = [hmac.digest(_checked(key), signed, "sha256") for key in keys]
    return " ".join("v1," + base64.b64encode(digest).decode() for digest in digests)


def verify(key: bytes, message_id: str, timestamp: str, signatures: str, body: bytes) -> bool:
    """Whether one of the signatures was made with the key, and just now (ValueError: it is too short)."""
    try:
        made = int(timestamp)
    except ValueError:
        return False
    expected = sign([key], message_id, made, body)
    good = [hmac.compare_digest(expected.encode(), given.encode()) for given in signatures.split()]
    return any(good) and abs(time.time() - made) <= TOLERANCE_SECONDS


def _checked(key: bytes) -> bytes:
    if len(key) < MIN_KEY_BYTES:
        raise ValueError(f"the key of a webhook secret has {len(key)} bytes; at least {MIN_KEY_BYTES}")
    return key
