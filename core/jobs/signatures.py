"""Signatures of webhooks, as Standard Webhooks 1.0 has them: made by the worker, checked by who receives them."""

from __future__ import annotations

import base64
import hmac
import time

TOLERANCE_SECONDS = 300  # a message that is older, or later, may have been recorded and sent again
PREFIX = "whsec_"


def sign(keys: list[bytes], message_id: str, timestamp: int, body: bytes) -> str:
    """The header field `webhook-signature`: one HMAC-SHA256 a secret, of id, timestamp (Unix, s) and body."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return " ".join("v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode() for key in keys)


def verify(secret: str, message_id: str, timestamp: str, signatures: str, body: bytes) -> bool:
    """Whether one of the signatures was made with the secret (`whsec_...`), and just now."""
    try:
        made = int(timestamp)
        expected = sign([base64.b64decode(secret.removeprefix(PREFIX))], message_id, made, body)
    except ValueError:
        return False
    good = [hmac.compare_digest(expected.encode(), given.encode()) for given in signatures.split()]
    return any(good) and abs(time.time() - made) <= TOLERANCE_SECONDS
