"""The receiving end of webhooks."""

from __future__ import annotations

import json
from collections.abc import Mapping

from core.errors import AccessDenied, RequestRefused
from core.jobs.signatures import key_of, verify
from sider.client.models import Announcement


def receive(secret: str, headers: Mapping[str, str], body: bytes) -> Announcement:
    """What a webhook tells, if it comes from the service. secret: as `sider webhooks secret TENANT` printed it.

    Raises:
        RequestRefused: the secret is none; it is a setting that is wrong, and no message is believed.
        AccessDenied: it was signed with another secret, altered, or is older than five minutes; answer 401.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    message_id, timestamp, signatures = (lower.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
    try:
        key = key_of(secret)
    except ValueError:
        message = "this is no webhook secret: take whsec_... as `sider webhooks secret TENANT` printed it"
        raise RequestRefused(message) from None
    if not verify(key, message_id, timestamp, signatures, body):
        raise AccessDenied("this message was not signed by the service just now", code="signature_invalid")
    return Announcement(message_id=message_id, **json.loads(body)["data"])
