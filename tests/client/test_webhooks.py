"""What a receiver believes."""

from __future__ import annotations

import base64
import hmac
import json
import time
from typing import Any

import pytest

from core.errors import AccessDenied, RequestRefused
from core.jobs.signatures import TOLERANCE_SECONDS, sign
from sider.client import receive

KEY = b"k" * 32
SECRET = "whsec_" + base64.b64encode(KEY).decode()
DATA = {"job_id": "job_1", "photo_id": "pho_1", "kind": "protect", "state": "failed", "problem_code": "no_face_found"}
BODY = json.dumps({"type": "job.failed", "timestamp": "2026-11-21T10:00:00Z", "data": DATA}).encode()


def fields(at: float = 0.0, keys: list[bytes] | None = None, **changed: str) -> dict[str, str]:
    timestamp = int(time.time() + at)
    found = {
        "Webhook-Id": "msg_1", "Webhook-Timestamp": str(timestamp),
        "Webhook-Signature": sign(keys or [KEY], "msg_1", timestamp, BODY),
    }  # fmt: skip
    return found | changed


@pytest.mark.parametrize("keys", [[KEY], [b"newer" * 7, KEY]])
@pytest.mark.parametrize("secret", [SECRET, f"{SECRET}\n"])  # as a file has it
def test_signed_by_the_service(keys: list[bytes], secret: str) -> None:
    told = receive(secret, fields(keys=keys), BODY)
    assert (told.message_id, told.job_id, told.state, told.problem_code) == (
        "msg_1",
        "job_1",
        "failed",
        "no_face_found",
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"keys": [b"another" * 5]}, {"at": -TOLERANCE_SECONDS - 5}, {"at": TOLERANCE_SECONDS + 5},
        {"Webhook-Id": "msg_2"}, {"Webhook-Timestamp": "now"}, {"Webhook-Signature": "v1, v2,\u00e4"},
    ],
)  # fmt: skip
def test_anything_else_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(AccessDenied, match="not signed"):
        receive(SECRET, fields(**changed), BODY)


def test_an_unsigned_message_is_refused() -> None:
    with pytest.raises(AccessDenied):
        receive(SECRET, {}, BODY)


def test_an_altered_body_is_refused() -> None:
    with pytest.raises(AccessDenied):
        receive(SECRET, fields(), BODY.replace(b"failed", b"succeeded"))


@pytest.mark.parametrize(
    "secret",
    [
        "", "whsec_", "whsec_ ", "<paste the secret here>", SECRET.removeprefix("whsec_"), SECRET.upper(),
        "whsec_!" + SECRET.removeprefix("whsec_"), SECRET.rstrip("="), "whsec_" + base64.b64encode(b"k" * 23).decode(),
        "whsec_\u00e4",
    ],
)  # fmt: skip
def test_what_is_no_secret_believes_nobody(secret: str) -> None:
    """Everybody can sign with the empty key, and soon with a short one."""
    timestamp = int(time.time())
    for key in (b"", b"k" * 23, KEY):
        signed = base64.b64encode(hmac.digest(key, f"msg_1.{timestamp}.".encode() + BODY, "sha256")).decode()
        headers = {"Webhook-Id": "msg_1", "Webhook-Timestamp": str(timestamp), "Webhook-Signature": f"v1,{signed}"}
        with pytest.raises(RequestRefused, match="sider webhooks secret") as refused:
            receive(secret, headers, BODY)
        assert "paste" not in str(refused.value)
