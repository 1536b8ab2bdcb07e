"""Progress as server-sent events, and answers that wait for the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from anyio import to_thread
from sqlalchemy.exc import OperationalError

from api.sharing import Watchers
from core.jobs.repository import Jobs
from tests.api.conftest import Service


@pytest.fixture
def each_second(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
    """What happens while a watcher sleeps, one thing a second, without the seconds. A look too many fails."""
    things: list[Callable[[], object]] = []

    async def sleep(_: float) -> None:
        await to_thread.run_sync(things.pop(0))

    monkeypatch.setattr("api.events.sleep", sleep)
    return things


def nothing() -> None:
    pass


def events(text: str) -> Iterator[dict[str, Any]]:
    for block in text.strip().split("\n\n"):
        yield dict(line.split(": ", 1) for line in block.splitlines())


def listen(service: Service, location: str, headers: dict[str, str], seen: str | None = None) -> list[dict[str, Any]]:
    resume = {"Last-Event-ID": seen} if seen else {}
    answer = service.client.get(f"{location}/events", headers=headers | resume)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    return list(events(answer.text))


def test_a_job_is_followed_to_its_end(service: Service, each_second: list[Callable[[], object]]) -> None:
    headers = service.key("protect")
    accepted = service.upload(headers)
    job_id, jobs = accepted.json()["job_id"], service.parts.jobs
    each_second += [
        nothing,
        lambda: jobs.claim(job_id, 60),
        lambda: jobs.heartbeat(job_id, 1, 60, "optimise", 0.5),
        nothing,
        lambda: jobs.fail(job_id, 1, {"code": "no_face_found", "message": "no face", "details": {}}),
    ]
    found = listen(service, accepted.headers["location"], headers)
    told = [(e["event"], json.loads(e["data"])["state"], json.loads(e["data"])["progress"]) for e in found]
    assert told == [("job", "queued", 0.0), ("job", "running", 0.0), ("job", "running", 0.5), ("end", "failed", 0.5)]
    assert json.loads(found[-1]["data"])["problem_code"] == "no_face_found"
    # Resumed in the middle, only what is new is told; at the end, nothing is left to come back for.
    assert listen(service, accepted.headers["location"], headers, seen=found[1]["id"]) == [found[-1]]
    last = {"Last-Event-ID": found[-1]["id"]}
    assert service.client.get(f"{accepted.headers['location']}/events", headers=headers | last).status_code == 204


def test_silence_is_broken_by_comments(
    service: Service, each_second: list[Callable[[], object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = service.key("protect")
    location = service.upload(headers).headers["location"]
    monkeypatch.setattr("api.events.HEARTBEAT_SECONDS", 0)
    each_second += [nothing, nothing, service.work]
    text = service.client.get(f"{location}/events", headers=headers).text
    assert text.count(": ping\n\n") == 2
    assert "event: end" in text


def test_a_stream_ends_after_its_time_and_may_be_resumed(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = service.key("protect")
    location = service.upload(headers).headers["location"]
    monkeypatch.setattr("api.events.STREAM_SECONDS", 0)
    [first] = listen(service, location, headers)
    service.work()
    [end] = listen(service, location, headers, seen=first["id"])
    assert (first["event"], end["event"]) == ("job", "end")


def test_owner_and_ops_listen_and_see_no_person(service: Service) -> None:
    headers, photo_id = service.protected()
    job_id = service.parts.jobs.page(None, None, 1)[0].id
    for listener in (headers, service.key("ops", tenant="rival")):
        [end] = listen(service, f"/jobs/{job_id}", listener)
        assert photo_id not in end["data"]
        assert "report" not in end["data"]
    stranger = service.key("protect", "restore", tenant="rival")
    assert service.client.get(f"/jobs/{job_id}/events", headers=stranger).status_code == 404
    assert service.client.get(f"/jobs/{job_id}/events").status_code == 401


def lose_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: object) -> None:
        raise OperationalError("SELECT", {}, Exception("gone"))

    monkeypatch.setattr(Jobs, "get", lost)


def test_the_database_is_lost_in_the_middle(
    service: Service, each_second: list[Callable[[], object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = service.key("protect")
    location = service.upload(headers).headers["location"]

    each_second.append(lambda: lose_the_database(monkeypatch))
    [first] = listen(service, location, headers)
    assert first["event"] == "job"


def one_watcher(service: Service) -> Watchers:
    """From now on one request at a time may watch."""
    service.replace(watchers=Watchers(1))
    return service.parts.watchers


def test_watchers_are_limited_and_give_their_place_back(
    service: Service, each_second: list[Callable[[], object]]
) -> None:
    watchers, headers = one_watcher(service), service.key("protect")
    location = service.upload(headers).headers["location"]
    others: list[Any] = []

    def meanwhile() -> None:
        assert watchers.locked()
        others.append(service.client.get(f"{location}/events", headers=headers))
        others.append(service.upload(headers | {"Prefer": "wait=5"}))
        service.work()

    each_second.append(meanwhile)
    assert listen(service, location, headers)[-1]["event"] == "end"
    assert [(a.status_code, "preference-applied" in a.headers) for a in others] == [(503, False), (202, False)]
    assert others[0].json()["code"] == "watchers_full"
    assert not watchers.locked()


def test_a_listener_that_goes_away_gives_its_place_back(service: Service) -> None:
    watchers, headers = one_watcher(service), service.key("protect")
    path = service.upload(headers).headers["location"] + "/events"
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET",
        "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
    }  # fmt: skip

    async def connect_and_leave() -> None:
        told = asyncio.Event()

        async def receive() -> Any:
            await told.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message.get("body"):
                assert watchers.locked()
                told.set()

        await service.client.app(scope, receive, send)

    asyncio.run(connect_and_leave())
    assert not watchers.locked()


def test_an_answer_that_waited_has_the_finished_job(service: Service, each_second: list[Callable[[], object]]) -> None:
    headers = service.key("protect", "restore") | {"Prefer": "respond-async, wait=20"}
    each_second.append(service.work)
    answer = service.upload(headers, password=None)
    assert (answer.status_code, answer.headers["preference-applied"]) == (200, "wait=20")
    job = answer.json()
    assert (job["state"], job["result"]["variants"]) == ("succeeded", 1)
    assert service.restored(headers, job["photo_id"], job["restore_code"])["state"] == "succeeded"


def test_an_answer_that_waited_in_vain(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.events.MAX_WAIT", 0)
    answer = service.upload(service.key("protect") | {"Prefer": "wait=600"})
    assert (answer.status_code, answer.json()["state"]) == (202, "queued")
    assert "location" in answer.headers


def test_a_database_lost_while_waiting_loses_no_restore_code(
    service: Service, each_second: list[Callable[[], object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    each_second.append(lambda: lose_the_database(monkeypatch))
    answer = service.upload(service.key("protect") | {"Prefer": "wait=20"}, password=None)
    assert (answer.status_code, answer.json()["restore_code"] is None) == (202, False)


def test_a_server_that_stops_lets_its_watchers_go(service: Service, each_second: list[Callable[[], object]]) -> None:
    headers = service.key("protect")
    each_second += [nothing, service.parts.leaving.set]
    answer = service.upload(headers | {"Prefer": "wait=20"})
    assert (answer.status_code, answer.json()["state"]) == (202, "queued")
    assert [e["event"] for e in listen(service, answer.headers["location"], headers)] == ["job"]


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [("wait=5", 5), ('return=minimal; x=1, Wait = "7"', 7), ("wait=600", 30), ("wait=-1", 0), ("wait=5x", 0), ("", 0)],
)
def test_preferences_are_understood_or_ignored(prefer: str, seconds: int) -> None:
    from api.events import preferred_wait

    assert preferred_wait(prefer) == seconds


def test_a_repeated_request_that_waits_gets_the_end_of_the_first_one(service: Service) -> None:
    headers = service.key("protect") | {"Idempotency-Key": "one"}
    first = service.upload(headers)
    service.work()
    again = service.upload(headers | {"Prefer": "wait=5"})
    assert (again.status_code, again.json()["job_id"]) == (200, first.json()["job_id"])
    assert again.headers["idempotent-replayed"] == "true"
