"""The client against a service that is scripted, blocking and not: what is lost, late, full or damaged on the way."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from core.errors import (
    NotFound,
    PhotoRefused,
    PromiseNotMet,
    RequestRefused,
    RestoreDenied,
    SiderError,
    StateConflict,
    TooMany,
    Unavailable,
)
from sider.client import AsyncClient, Client
from sider.client.effects import Sleep
from sider.client.requests import LONGEST_PAUSE, pause
from tests.client.scripted import ACCEPTED, LOST, PICTURE, Service, event, events, job, photo_view, problem, stored

SERVER, KEY = "http://sider.test", "sdr_key"
Call = Callable[..., Any]


@pytest.fixture(params=["blocking", "asyncio"])
def call(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Call:
    """`call(service, "protect", ...)` on a client of each kind, whose pauses take no time."""

    def blocking(service: Service, method: str, *args: Any, **options: Any) -> Any:
        monkeypatch.setattr("sider.client.shells.time.sleep", service.slept.append)
        with Client(SERVER, KEY, token=lambda: "jwt", transport=httpx2.MockTransport(service)) as client:
            found = getattr(client, method)(*args, **options)
            return list(found) if method == "watch" else found

    def later(service: Service, method: str, *args: Any, **options: Any) -> Any:
        async def sleep(seconds: float) -> None:
            service.slept.append(seconds)

        async def run() -> Any:
            async with AsyncClient(SERVER, KEY, token=lambda: "jwt", transport=httpx2.MockTransport(service)) as client:
                found = getattr(client, method)(*args, **options)
                return [seen async for seen in found] if method == "watch" else await found

        monkeypatch.setattr("sider.client.shells.asyncio.sleep", sleep)
        return asyncio.run(run())

    return blocking if request.param == "blocking" else later


@pytest.mark.parametrize("kind", ["bytes", "file", "path", "name"])
def test_sent_again_whole_under_one_key_until_it_is_answered(call: Call, tmp_path: Path, kind: str) -> None:
    (tmp_path / "mrs-smith.jpg").write_bytes(PICTURE)
    path = tmp_path / "mrs-smith.jpg"
    upload = {"bytes": PICTURE, "file": io.BytesIO(PICTURE), "path": path, "name": str(path)}[kind]
    service = Service(
        problem(503, "queue_full", retry_after=7), LOST, httpx2.Response(502, text="<html>"),
        problem(409, "idempotency_in_progress", retry_after=1), httpx2.Response(202, json=ACCEPTED),
    )  # fmt: skip
    accepted = call(service, "protect", upload, password="correct horse battery", variants=2)
    assert accepted.job_id == "job_1"
    bodies = {r.content.replace(r.headers["content-type"].split("boundary=")[1].encode(), b"") for r in service.asked}
    assert len(bodies) == 1
    [body] = bodies
    assert PICTURE in body
    assert b"mrs-smith" not in body
    assert len({r.headers["idempotency-key"] for r in service.asked}) == 1
    assert service.slept[0] >= 7
    assert service.slept[3] >= 1


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (lambda: problem(422, "photo_damaged"), PhotoRefused, "photo_damaged"),
        (lambda: problem(422, "request_invalid"), RequestRefused, "request_invalid"),
        (lambda: problem(429, "too_many_guesses", retry_after=3600), TooMany, "too_many_guesses"),
        (lambda: problem(404, "not_found"), NotFound, "not_found"),
        (lambda: problem(500, "internal_error"), SiderError, "internal_error"),
        (lambda: httpx2.Response(302, headers={"location": "http://evil.test/"}), Unavailable, "http_302"),
    ],
)
def test_what_the_service_will_not_do_is_told_at_once(
    call: Call, answer: Callable[[], httpx2.Response], kind: type[SiderError], code: str
) -> None:
    service = Service(answer())
    with pytest.raises(kind) as caught:
        call(service, "restore", "pho_1", reason="dispute 1")
    assert (type(caught.value), caught.value.code, service.slept) == (kind, code, [])
    assert service.asked[0].headers["authorization"] == "Bearer jwt"


def test_given_up_after_so_many_attempts(call: Call) -> None:
    service = Service(*[LOST] * 6)
    with pytest.raises(Unavailable) as caught:
        call(service, "photo", "pho_1")
    assert (caught.value.code, len(service.asked), service.answers) == ("service_unreachable", 6, [])


def test_pauses_grow_and_differ_and_end_somewhere() -> None:
    assert max(pause(1) for _ in range(99)) <= 1 < max(pause(6) for _ in range(99)) <= 32
    assert max(pause(99) for _ in range(99)) <= LONGEST_PAUSE
    assert len({pause(3) for _ in range(9)}) == 9


def test_followed_by_events_over_lost_connections(call: Call) -> None:
    service = Service(
        events(event("job", progress=0.1), b": ping\n\n", LOST), LOST,
        events(event("job", progress=0.2)), events(event("end", progress=1.0, state="succeeded")),
    )  # fmt: skip
    assert [seen.progress for seen in call(service, "watch", "job_1")] == [0.1, 0.2, 1.0]
    assert [r.headers.get("last-event-id") for r in service.asked] == [None, "job0.1", "job0.1", "job0.2"]


def test_polled_where_there_are_no_events_and_the_only_link_is_kept(call: Call) -> None:
    ended = job(kind="restore", state="succeeded", result={"link": "http://store.test/original"})
    answers = [httpx2.Response(200, json=body) for body in (job(), job(), ended)]
    service, told = Service(problem(503, "watchers_full"), *answers), []
    found = call(service, "wait", "job_1", told=told.append)
    assert found.result == {"link": "http://store.test/original"}
    assert [seen.state for seen in told] == ["running", "succeeded"]
    assert service.answers == []


def test_polled_where_something_else_answers_for_the_events(call: Call) -> None:
    pages = [httpx2.Response(200, headers={"content-type": "text/html"}, text="<html>\n\n</html>") for _ in range(6)]
    service = Service(*pages, httpx2.Response(200, json=job(state="succeeded")))
    assert call(service, "wait", "job_1").state == "succeeded"


def test_polled_when_events_are_cut_again_and_again(call: Call) -> None:
    ended = httpx2.Response(200, json=job(state="succeeded"))
    service = Service(*(events(LOST) for _ in range(6)), ended)
    assert call(service, "wait", "job_1").state == "succeeded"
    assert service.paths == ["/jobs/job_1/events"] * 6 + ["/jobs/job_1"]


@pytest.mark.parametrize(
    ("values", "kind", "code"),
    [
        ({"state": "failed", "problem": problem(422, "promise_not_met", report=1).json()}, PromiseNotMet, None),
        ({"state": "failed", "problem": problem(403, "restore_denied").json()}, RestoreDenied, None),
        ({"state": "expired", "problem": problem(504, "job_expired").json()}, Unavailable, "job_expired"),
        ({"state": "cancelled"}, StateConflict, "job_cancelled"),
    ],
)
def test_what_came_of_it_instead(call: Call, values: dict[str, Any], kind: type[SiderError], code: str | None) -> None:
    service = Service(events(event("end", **values)), httpx2.Response(200, json=job(**values)))
    with pytest.raises(kind) as caught:
        call(service, "wait", "job_1")
    assert caught.value.code == (code or kind.default_code)
    if kind is PromiseNotMet:
        assert caught.value.details == {"report": 1}


def test_waiting_has_an_end(call: Call) -> None:
    service = Service(events(*[b": ping\n\n"] * 9))
    with pytest.raises(TimeoutError, match="job_1 has not ended"):
        call(service, "wait", "job_1", timeout=0.0)
    assert service.asked == []


def test_downloaded_whole_with_a_fresh_link_for_each_attempt(call: Call, tmp_path: Path) -> None:
    target = tmp_path / "her.png"
    service = Service(
        photo_view(1), httpx2.Response(403, text="expired"),
        photo_view(2), stored(PICTURE[:999], LOST),
        photo_view(3), stored(PICTURE[1:]),
        photo_view(4), stored(PICTURE[:999], PICTURE[999:]),
    )  # fmt: skip
    assert call(service, "download", "pho_1", target) == target
    assert target.read_bytes() == PICTURE
    assert list(tmp_path.iterdir()) == [target]
    from_store = [r for r in service.asked if r.url.host == "store.test"]
    assert [r.url.params["link"] for r in from_store] == ["1", "2", "3", "4"]
    assert not any("x-api-key" in r.headers or "authorization" in r.headers for r in from_store)


def test_each_variant_is_its_own_picture(call: Call, tmp_path: Path) -> None:
    view = photo_view(1).json()
    view["variants"].append({"name": "v2", "link": "http://store.test/v2.png"})
    service = Service(httpx2.Response(200, json=view), stored(PICTURE))
    call(service, "download", "pho_1", tmp_path / "her.png", variant=2)
    assert service.paths == ["/photos/pho_1", "/v2.png"]


def test_a_restore_has_all_that_it_is_asked_with(call: Call) -> None:
    service = Service(httpx2.Response(202, json=ACCEPTED))
    hook = "https://bank.example/hooks"
    call(service, "restore", "pho_1", reason="dispute 1", password="horse", photo=PICTURE, webhook_url=hook)
    sent = service.asked[0].content
    assert all(part in sent for part in (b"pho_1", b"dispute 1", b"horse", PICTURE, hook.encode()))


def test_a_store_that_gives_nothing_leaves_nothing(call: Call, tmp_path: Path) -> None:
    service = Service(*(answer for n in range(6) for answer in (photo_view(n), stored(PICTURE, digest="0" * 64))))
    with pytest.raises(Unavailable):
        call(service, "download", "pho_1", tmp_path / "her.png")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RequestRefused, match="has 1 variants"):
        call(Service(photo_view(1)), "download", "pho_1", tmp_path / "her.png", variant=2)


@pytest.mark.parametrize("photos", [[], [PICTURE]])
def test_a_batch_of_one_is_not_sent(call: Call, photos: list[bytes]) -> None:
    """Its answer would be that of a single photo, and the restore code lost with it."""
    service = Service(httpx2.Response(202, json=ACCEPTED | {"restore_code": "secret"}))
    with pytest.raises(RequestRefused, match="two photos or more"):
        call(service, "protect_batch", photos)
    assert service.asked == []


@pytest.mark.parametrize("server", ["sider.test", "ftp://sider.test", "https://user@sider.test", "http://"])
def test_no_address_of_a_service(server: str) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(RequestRefused, match="write it like"):
            kind(server, KEY)


def test_keys_and_links_are_not_shown() -> None:
    with Client(SERVER, KEY) as client:
        assert KEY not in repr(vars(client))
        assert KEY not in repr(next(client._flows.photo("pho_1")))


def test_left_alone_it_lets_the_connection_go() -> None:
    answer = events(event("job"), event("end", state="succeeded"))
    with Client(SERVER, KEY, transport=httpx2.MockTransport(Service(answer))) as client:
        watch = client.watch("job_1")
        assert next(watch).state == "running"
        assert not answer.is_closed
        watch.close()
        assert answer.is_closed


def test_it_imports_without_the_service() -> None:
    """What its extra does not bring is not loaded."""
    code = "import sys, sider.client; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "fastapi", "sqlalchemy", "celery", "boto3", "cryptography"} & set(done.stdout.split())


def test_a_flow_can_be_read_without_a_network() -> None:
    """How one reads, and tests, the protocol: by hand."""
    with Client(SERVER, KEY) as client:
        flow = client._flows.photo("pho_1")
        ask = next(flow)
        assert (ask.method, ask.url) == ("GET", f"{SERVER}/photos/pho_1")  # type: ignore[union-attr]
        assert isinstance(flow.throw(LOST), Sleep)
