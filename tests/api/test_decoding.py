"""Many photos, or slow ones, hold up nobody but who sends them."""

from __future__ import annotations

import asyncio
import threading
from functools import partial

import httpx2
import pytest
from anyio.to_thread import current_default_thread_limiter

from api.decoding import Decoders
from core.errors import Unavailable
from core.stages.sandbox import Server
from tests.api.conftest import PASSWORD, PHOTO, Service
from tests.api.test_batches import PHOTOS, send
from tests.api.test_idempotency import KEY, answered
from tests.api.test_refusals import PROBLEM


def forbid_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "ask", lambda *_, **__: pytest.fail("a photo was decoded"))


def test_a_batch_without_room_is_not_decoded(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_decoding(monkeypatch)
    answer = send(service, service.key("protect"), PHOTOS * 2)
    assert (answer.status_code, answer.json()["code"]) == (503, "queue_full")
    service.change(max_queue=100, tenant_share=0.02)
    assert send(service, service.key("protect")).json()["code"] == "tenant_queue_full"


def test_what_was_answered_before_is_not_decoded_again(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = service.key("protect") | KEY
    first = send(service, headers)
    forbid_decoding(monkeypatch)
    assert answered(send(service, headers)) == answered(first)  # though there is no room for three more


def test_who_sends_no_photo_does_not_wait_for_decoders(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    at_work, go_on = threading.Event(), threading.Event()

    def slow(*_: object, **__: object) -> None:
        at_work.set()
        assert go_on.wait(60)

    monkeypatch.setattr(Server, "ask", slow)
    greedy, modest = service.key("protect"), service.key("protect", tenant="rival")
    files = [("photo", ("me.png", PHOTO.to_png()))]

    async def statuses() -> tuple[int, list[int]]:
        current_default_thread_limiter().total_tokens = 3
        transport = httpx2.ASGITransport(app=service.client.app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://t", timeout=60) as http:
            form = {"password": PASSWORD}
            slow = [
                asyncio.create_task(http.post("/protect", headers=greedy, files=files, data=form)) for _ in range(5)
            ]
            try:
                await asyncio.to_thread(at_work.wait, 20)
                async with asyncio.timeout(10):
                    seen = await http.get("/photos/pho_1", headers=modest)
            finally:
                go_on.set()
            return seen.status_code, [(await task).status_code for task in slow]

    assert asyncio.run(statuses()) == (404, [202] * 5)


@pytest.mark.parametrize("path", ["/protect", "/restore", "/photos/verify"])
def test_who_waits_too_long_for_a_decoder_is_told_when_to_come_back(
    service: Service, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    headers, photo_id = service.protected()
    decoders = Decoders(1)
    service.replace(decoders=decoders)
    monkeypatch.setattr("api.decoding.WALL_SECONDS", 0.1)
    decoders._places._value = 0
    busy = service.send(path, headers, photo_id)
    assert (busy.status_code, busy.json()["code"], busy.headers["content-type"]) == (503, "decoder_busy", PROBLEM)
    assert int(busy.headers["retry-after"]) > 0
    decoders._places._value = 1
    assert service.send(path, headers, photo_id).is_success


@pytest.mark.parametrize("path", ["/protect", "/restore", "/photos/verify"])
def test_a_photo_of_more_pixels_than_accepted_is_refused(service: Service, path: str) -> None:
    headers, photo_id = service.protected()
    service.change(max_pixels=100)
    answer = service.send(path, headers, photo_id)
    assert (answer.status_code, answer.json()["code"]) == (413, "photo_too_large")


def test_a_restore_without_a_photo_waits_for_no_decoder(service: Service) -> None:
    headers, photo_id = service.protected()

    async def run() -> int:
        mine = asyncio.Semaphore(0)
        service.parts.decoders._shares["bank"] = mine
        transport = httpx2.ASGITransport(app=service.client.app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://t") as http, asyncio.timeout(20):
            form = {"photo_id": photo_id, "password": PASSWORD, "reason": "dispute 1"}
            return (await http.post("/restore", headers=headers, data=form)).status_code

    assert asyncio.run(run()) == 202


def test_tenants_take_turns() -> None:
    async def order() -> list[str]:
        decoders, names = Decoders(1), list[str]()
        waiting = [("greedy", 3), ("greedy", 2), ("modest", 2)]
        calls = [(tenant, [partial(names.append, tenant)] * count) for tenant, count in waiting]
        await asyncio.gather(*(decoders.run(tenant, 0.5, each) for tenant, each in calls))
        assert not decoders._shares
        return names

    assert asyncio.run(order()) == ["greedy", "modest", "greedy", "modest", "greedy", "greedy", "greedy"]


def test_a_tenant_has_its_share_of_the_decoders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.decoding.WALL_SECONDS", 0.1)
    go_on = threading.Event()

    async def run() -> None:
        decoders = Decoders(2)
        long = asyncio.create_task(decoders.run("greedy", 0.5, [partial(go_on.wait, 20)]))
        await asyncio.sleep(0)
        with pytest.raises(Unavailable) as caught:
            await decoders.run("greedy", 0.5, [list])
        assert caught.value.code == "decoder_busy"
        assert await decoders.run("modest", 0.5, [list, list]) == [[], []]
        go_on.set()
        assert await long == [True]

    asyncio.run(run())
