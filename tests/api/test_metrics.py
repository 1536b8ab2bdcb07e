"""What Prometheus is told of a service's life."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.stub import Stubber
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from sqlalchemy import text

from api import metrics
from api.metrics import Gauges
from api.parts import CeleryBroker
from core.errors import NotFound, PromiseNotMet, Unavailable
from core.jobs.audit import Entry
from core.vault.blobs import S3Blobs
from tests.api.conftest import PASSWORD, Service
from tests.fakes import LightEngine

REPORT = {"held": False, "variants": [[{"held": True}, {"held": False}], [{"held": True}, {"held": True}]]}


def gauges(service: Service) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(Gauges(service.parts.engine))
    return registry


def test_jobs_on_their_way(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "CACHE_SECONDS", 0)
    told = gauges(service)

    def jobs(state: str, kind: str, method: str) -> float | None:
        return told.get_sample_value("sider_jobs", {"state": state, "kind": kind, "method": method})

    assert (jobs("queued", "protect", "sider"), jobs("running", "restore", "")) == (0, 0)  # none is not unknown
    assert told.get_sample_value("sider_queue_oldest_age_seconds") == 0
    headers = service.key("protect")
    first = service.upload(headers).json()["job_id"]
    service.upload(headers)
    service.parts.jobs.claim(first, 60)
    assert (jobs("queued", "protect", "sider"), jobs("running", "protect", "sider")) == (1, 1)
    assert (told.get_sample_value("sider_queue_oldest_age_seconds") or 0) > 0
    assert told.get_sample_value("sider_workers", {"state": "alive"}) == 0


def test_a_scrape_a_moment_later_asks_nobody(service: Service) -> None:
    told = gauges(service)
    before = generate_latest(told)
    service.upload(service.key("protect"))
    assert generate_latest(told) == before


def test_without_a_database_a_scrape_still_answers(service: Service, since: Callable[..., float]) -> None:
    with service.parts.engine.begin() as connection:
        connection.execute(text("DROP TABLE workers"))
    assert generate_latest(gauges(service)) == b""
    assert since("sider_errors_total", part="database", operation="select") == 1


def test_a_job_is_counted_once_by_how_it_ended(service: Service, since: Callable[..., float]) -> None:
    headers, photo_id = service.protected()
    service.restored(headers, photo_id)
    service.restored(headers, photo_id, "a wrong password")
    service.client.delete(service.upload(headers).headers["location"], headers=headers)

    def ended(kind: str, method: str, state: str, code: str = "") -> float:
        return since("sider_jobs_ended_total", kind=kind, method=method, state=state, code=code)

    assert ended("protect", "sider", "succeeded") == 1
    assert ended("protect", "sider", "cancelled") == 1
    assert ended("restore", "", "succeeded") == 1
    assert ended("restore", "", "failed", "restore_denied") == 1
    assert since("sider_queue_seconds_count", kind="restore") == 2
    assert since("sider_job_seconds_count", kind="protect", method="sider") == 1  # the other one never ran
    for outcome, count in (("accepted", 2), ("succeeded", 1), ("restore_denied", 1)):
        assert since("sider_audit_entries_total", event="restore", outcome=outcome) == count
    for stage in ("fetch", "optimise", "store", "open"):
        assert since("sider_engine_stage_seconds_count", stage=stage) >= 1


def test_a_restore_that_is_refused_at_the_door_is_counted(service: Service, since: Callable[..., float]) -> None:
    form = {"photo_id": f"pho_{'0' * 32}", "password": PASSWORD, "reason": "dispute 1"}
    assert service.client.post("/restore", data=form, headers=service.key("restore")).status_code == 404
    assert since("sider_audit_entries_total", event="restore", outcome="not_found") == 1


@pytest.mark.parametrize("missed", [True, False])
def test_faces_and_missed_promises(service: Service, since: Callable[..., float], missed: bool) -> None:
    class Measuring(LightEngine):
        def protect(self, *words: Any) -> Any:
            outcome = super().protect(*words)
            if missed:
                raise PromiseNotMet("missed", details={"report": REPORT})
            outcome.report.update(REPORT)
            return outcome

    service.upload(service.key("protect"))
    service.work(Measuring())
    assert since("sider_faces_total", method="sider") == 4
    assert since("sider_promises_missed_total", method="sider") == 1


def test_lost_parts_are_counted_by_what_was_asked_of_them(service: Service, since: Callable[..., float]) -> None:
    broker = CeleryBroker("redis://127.0.0.1:1/0")
    service.replace(broker=broker)
    assert service.upload(service.key("protect")).status_code == 202
    with pytest.raises(Unavailable):
        broker.check()
    store = S3Blobs("photos", "http://127.0.0.1:1", "us-east-1", ("id", "secret"))
    with Stubber(store._client) as lost:
        lost.add_client_error("put_object", "SlowDown", http_status_code=503)
        lost.add_client_error("get_object", "NoSuchKey", http_status_code=404)
        with pytest.raises(Unavailable):
            store.put("key", b"")
        with pytest.raises(NotFound):  # that is an answer
            store.get("key")
    for part, operation, count in (("broker", "publish", 1), ("broker", "check", 1), ("store", "put", 1)):
        assert since("sider_errors_total", part=part, operation=operation) == count
    assert since("sider_errors_total", part="store", operation="get") == 0


def test_the_time_of_the_last_head_stands_still_without_the_store(service: Service) -> None:
    def signed() -> float:
        return REGISTRY.get_sample_value("sider_audit_head_timestamp_seconds") or 0

    began = time.time()
    service.protected()
    last = signed()
    assert last >= began
    heads = service.context().heads
    service.heads.down = True
    service.parts.audit.record(Entry("keyring", "rotated", "operator"))
    with pytest.raises(Unavailable):
        heads.anchor()
    assert signed() == last


def test_nothing_personal_is_a_label(service: Service) -> None:
    headers, photo_id = service.protected()
    service.restored(headers, photo_id, "a wrong password")
    told = (generate_latest(REGISTRY) + generate_latest(gauges(service))).decode()
    for word in ("bank", "key:", "dispute", headers["Authorization"].split("_")[1]):
        assert word not in told
    assert not re.search("(job|pho)_[0-9a-f]{8}", told)
