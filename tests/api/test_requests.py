"""Every request is known by an id, in its log and in its job's, and counted by route."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import REGISTRY

from tests.api.conftest import Service


def lines(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in "".join(capfd.readouterr()).splitlines() if line.startswith("{")]


def test_a_callers_id_goes_with_request_and_job(service: Service, capfd: pytest.CaptureFixture[str]) -> None:
    headers = {**service.key("protect"), "X-Request-ID": "callers-own-0001"}
    answer = service.upload(headers)
    assert answer.headers["x-request-id"] == "callers-own-0001"
    service.work()
    told = lines(capfd)
    [request] = [line for line in told if line["event"] == "answered"]
    assert (request["method"], request["route"], request["status"], request["tenant"]) == (
        "POST",
        "/protect",
        202,
        "bank",
    )
    ours = [line for line in told if line["event"] in ("claimed", "succeeded")]
    assert len(ours) == 2
    for line in (request, *ours):
        assert (line["request_id"], line["tenant"]) == ("callers-own-0001", "bank")
    assert {line["job_id"] for line in ours} == {answer.json()["job_id"]}


@pytest.mark.parametrize("given", ["", "short", "a b c d e f g", 'x"},{"level":"error', "x" * 65])
def test_an_id_that_is_none_is_replaced(service: Service, given: str) -> None:
    first, second = (service.client.get("/health/live", headers={"X-Request-ID": given}) for _ in range(2))
    assert len(first.headers["x-request-id"]) == 32
    assert first.headers["x-request-id"] != second.headers["x-request-id"]


def test_refusals_have_one_too(service: Service) -> None:
    for answer in (service.client.get("/jobs"), service.client.get("/nowhere"), service.client.put("/protect")):
        assert answer.status_code >= 400
        assert answer.headers["x-request-id"]


def test_counted_by_the_route_and_never_by_what_a_caller_invents(service: Service, since: Callable[..., float]) -> None:
    headers = service.key("ops")
    for path in ("/jobs/job_1", "/jobs/job_2", "/nowhere", "/sign-in", "/static/sider.css"):
        service.client.get(path, headers=headers)
    for path in ("/nowhere", "/protect", "/static/sider.css"):
        service.client.request("INVENTED", path)

    def answered(method: str, route: str, status: int) -> float:
        return since("sider_http_request_seconds_count", method=method, route=route, status=str(status))

    assert answered("GET", "/jobs/{job_id}", 404) == 2
    assert answered("GET", "unknown", 404) == 1
    assert answered("GET", "/sign-in", 200) == 1
    assert answered("GET", "/static", 200) == 1
    assert answered("other", "/protect", 405) == 1
    families = [family for family in REGISTRY.collect() if family.name == "sider_http_request_seconds"]
    assert "INVENTED" not in {sample.labels.get("method") for family in families for sample in family.samples}
