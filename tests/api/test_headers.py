"""Header fields of all answers, and the page of documentation that lives under them."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from api.app import create_app
from api.headers import FIELDS, SecurityHeaders
from tests.api.conftest import PASSWORD, Service


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/docs", 200), ("GET", "/openapi.json", 200), ("GET", "/health/live", 200), ("GET", "/nowhere", 404),
        ("PUT", "/protect", 405), ("POST", "/protect", 401), ("GET", "/jobs", 401), ("OPTIONS", "/protect", 405),
    ],
)  # fmt: skip
def test_every_answer_has_them(service: Service, method: str, path: str, status: int) -> None:
    answer = service.client.request(method, path, headers={"Origin": "https://evil.example"})
    assert answer.status_code == status
    assert FIELDS.items() <= {name: answer.headers.get(name) for name in FIELDS}.items()
    assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_what_tells_of_a_photo_is_kept_by_nobody(service: Service) -> None:
    headers, photo_id = service.protected()
    form = {"photo_id": photo_id, "password": PASSWORD, "reason": "dispute 1"}
    restore = service.client.post("/restore", headers=headers, data=form)
    job = restore.headers["location"]
    service.work()
    answers = [
        restore,
        *(service.client.get(p, headers=headers) for p in (job, f"{job}/events", f"/photos/{photo_id}")),
    ]
    assert [(a.status_code, a.headers["cache-control"]) for a in answers] == [(202, "no-store")] + [
        (200, "no-store")
    ] * 3


def test_an_error_of_ours_has_them_too(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.health.live.__code__", (lambda: 1 / 0).__code__)
    answer = service.client.get("/health/live")
    assert answer.status_code == 500
    assert answer.headers["content-security-policy"] == FIELDS["Content-Security-Policy"]


def test_strict_transport_security_by_setting(service: Service) -> None:
    assert "strict-transport-security" not in service.client.get("/health/live").headers
    app = create_app(service.parts.settings.model_copy(update={"hsts_seconds": 63_072_000}), service.parts)
    service.client.app = app
    service.client._transport.app = app
    assert service.client.get("/health/live").headers["strict-transport-security"] == "max-age=63072000"


def test_a_stream_is_not_held_up() -> None:
    sent = []

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"cache-control", b"max-age=1")]})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(SecurityHeaders(stream, 0)({"type": "http"}, None, send))  # type: ignore[arg-type]
    fields = dict(sent[0]["headers"])
    assert fields[b"cache-control"] == b"max-age=1"  # what an answer says itself stays
    assert fields[b"x-content-type-options"] == b"nosniff"


def test_the_documentation_needs_no_other_host_and_no_inline_script(service: Service) -> None:
    page = service.client.get("/docs").text
    parts = re.findall(r'(?:src|href)="(/[^"]*)"', page)
    assert len(parts) == 3
    for part in parts:
        assert service.client.get(part).status_code == 200, part
    assert "//" not in page
    assert not re.search(r"<script>|<style|style=|\son\w+=", page)
