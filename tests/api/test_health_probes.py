"""Probes of an API whose parts are silent."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from anyio.to_thread import current_default_thread_limiter

from tests.api.conftest import Service


async def get(service: Service, path: str) -> int:
    """The status of an answer, within this event loop."""
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET",
        "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "headers": [], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
    }  # fmt: skip
    statuses: list[int] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await service.client.app(scope, receive, send)
    return statuses[0]


def test_an_api_whose_threads_all_wait_is_alive(service: Service) -> None:
    async def busy() -> int:
        limiter = current_default_thread_limiter()
        for number in range(int(limiter.total_tokens)):
            await limiter.acquire_on_behalf_of(number)
        async with asyncio.timeout(20):
            return await get(service, "/health/live")

    assert asyncio.run(busy()) == 200


def test_probers_of_a_silent_store_wait_for_one_answer(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, go_on = [], threading.Event()

    def silent() -> None:
        asked.append(threading.current_thread())
        assert go_on.wait(20)

    monkeypatch.setattr(service.photos, "check", silent)

    async def probe() -> list[int]:
        impatient = asyncio.create_task(get(service, "/health/ready"))
        others = [asyncio.create_task(get(service, "/health/ready")) for _ in range(50)]
        while not asked:
            await asyncio.sleep(0.01)
        impatient.cancel()  # his going away is nothing to the others
        await asyncio.sleep(0.05)
        go_on.set()
        return [*await asyncio.gather(*others), await get(service, "/health/ready")]

    assert asyncio.run(probe()) == [200] * 51
    assert len(asked) == 1


def test_an_answer_is_good_for_seconds_only(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def status() -> int:
        return service.client.get("/health/ready").status_code

    monkeypatch.setattr("api.health.FRESH_SECONDS", 1e9)
    assert status() == 200
    service.photos.down = True
    assert status() == 200
    monkeypatch.setattr("api.health.FRESH_SECONDS", 0)
    assert [status(), status()] == [503, 503]
    service.photos.down = False
    assert status() == 200
