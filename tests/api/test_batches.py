"""Several photos in one request."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.errors import Unavailable
from core.jobs.tables import Delivery
from tests.api.conftest import PASSWORD, PHOTO, Service
from tests.api.test_idempotency import KEY, answered
from tests.api.test_refusals import PROBLEM
from tests.fakes import LightEngine, picture
from worker import courier
from worker.courier import Courier

PHOTOS = [picture(seed=n).to_png() for n in range(3)]


def send(service: Service, headers: dict[str, str], photos: list[bytes] = PHOTOS, **form: Any) -> Any:
    files = [("photo", (f"{n}.png", data, "image/png")) for n, data in enumerate(photos)]
    data = {"password": PASSWORD, **form}
    return service.client.post(
        "/protect", headers=headers, files=files, data={k: v for k, v in data.items() if v is not None}
    )


def test_each_photo_becomes_a_job_and_comes_back(service: Service) -> None:
    headers = service.key("protect", "restore")
    answer = send(service, headers, password=None)
    assert answer.status_code == 202, answer.text
    batch = answer.json()
    assert answer.headers["location"] == f"/batches/{batch['batch_id']}"
    seen = service.client.get(answer.headers["location"], headers=headers).json()
    assert (seen["counts"], [j["job_id"] for j in seen["jobs"]]) == (
        {"queued": 3},
        [j["job_id"] for j in batch["jobs"]],
    )
    service.work()
    seen = service.client.get(answer.headers["location"], headers=headers).json()
    assert seen["counts"] == {"succeeded": 3}
    for number, job in enumerate(seen["jobs"]):
        result = service.restored(headers, job["photo_id"], batch["restore_code"])["result"]
        assert (service.stored(result["link"]) == picture(seed=number).pixels).all()


def test_all_or_none_and_each_refused_photo_is_named(service: Service) -> None:
    headers = service.key("protect") | KEY
    answer = send(service, headers, [PHOTOS[0], b"<html>", PHOTOS[1], b""])
    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)
    problem = answer.json()
    assert problem["code"] == "batch_refused"
    assert [(p["photo"], p["code"]) for p in problem["photos"]] == [(1, "photo_format"), (3, "photo_empty")]
    assert (service.parts.jobs.depth(), service.photos.objects, service.keys.objects) == (0, {}, {})
    assert send(service, headers, [PHOTOS[0], PHOTOS[1]]).status_code == 202  # the key is free for what is left


def test_sent_again_it_is_answered_again_and_done_once(service: Service) -> None:
    headers = service.key("protect") | KEY
    first, again = (send(service, headers, password=None) for _ in range(2))
    assert answered(again) == answered(first)
    assert again.json()["restore_code"]
    assert again.headers["idempotent-replayed"] == "true"
    assert service.parts.jobs.depth() == 3
    for other in (PHOTOS[::-1], PHOTOS[:2], PHOTOS[:1]):
        assert send(service, headers, other, password=None).json()["code"] == "idempotency_key_reused"


def test_queue_and_share_have_room_for_all_or_it_is_turned_away(service: Service) -> None:
    headers = service.key("protect")
    assert send(service, headers).status_code == 202
    full = send(service, headers)
    assert (full.status_code, full.json()["code"], int(full.headers["retry-after"]) > 0) == (503, "queue_full", True)
    service.change(max_queue=100, tenant_share=0.05)
    assert send(service, headers).json()["code"] == "tenant_queue_full"
    assert send(service, service.key("protect", tenant="rival")).status_code == 202
    assert send(service, headers, PHOTOS[:2]).status_code == 202
    assert service.parts.jobs.depth("bank") == 5


def test_a_deadline_is_that_of_each(service: Service) -> None:
    batch = send(service, service.key("protect"), expires_in="600").json()
    assert all(service.parts.jobs.get(job["job_id"]).expires_at for job in batch["jobs"])


def test_no_more_than_the_limit(service: Service) -> None:
    service.change(max_batch=2)
    answer = send(service, service.key("protect"))
    assert (answer.status_code, answer.json()["detail"]) == (422, "3 photos; at most 2 in one request")


def test_a_store_that_fails_in_the_middle_leaves_no_job(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    put, calls = service.photos.put, []

    def third(*args: Any) -> None:
        calls.append(args)
        if len(calls) == 3:
            raise Unavailable("the object store is away", code="store_unavailable")
        put(*args)

    monkeypatch.setattr(service.photos, "put", third)
    headers = service.key("protect") | KEY
    assert send(service, headers).status_code == 503
    assert service.parts.jobs.depth() == 0
    assert send(service, headers).status_code == 202


def test_cancelled_together_except_what_has_ended(service: Service) -> None:
    headers = service.key("protect")
    location = send(service, headers).headers["location"]
    first = service.broker.messages[:1]
    service.broker.messages, waiting = first, service.broker.messages[1:]
    service.work()
    service.broker.messages = waiting
    for _ in range(2):
        assert service.client.delete(location, headers=headers).json()["counts"] == {"succeeded": 1, "cancelled": 2}
    for scope in ("restore", "ops"):  # nothing is left to cancel, and still
        assert service.client.delete(location, headers=service.key(scope)).status_code == 403
    service.work(LightEngine(before=lambda: pytest.fail("a cancelled job was done")))
    assert not [key for key in service.photos.objects if "incoming" in key]


def test_of_nobody_else(service: Service) -> None:
    location = send(service, service.key("protect")).headers["location"]
    for headers in (service.key("protect", tenant="rival"), service.key("ops")):
        for method in ("GET", "DELETE"):
            assert service.client.request(method, location, headers=headers).status_code in (403, 404)
    assert service.client.delete(location, headers=service.key("restore")).status_code == 403
    assert service.parts.jobs.depth() == 3


def test_each_job_is_audited_and_announced(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service.change(webhook_private=True)
    service.parts.webhooks.new_secret("bank", service.parts.shelf.keyring)
    told: list[Any] = []
    monkeypatch.setattr(courier, "post", lambda url, message, private: told.append(json.loads(message[0])) or 204)
    headers = service.key("protect")
    batch = send(service, headers, webhook_url="http://bank.example/").json()
    alone = service.upload(headers, webhook_url="http://bank.example/").json()
    service.work()
    Courier(service.context()).sweep()
    by_job = {message["data"]["job_id"]: message["data"] for message in told}
    assert {by_job[job["job_id"]]["batch_id"] for job in batch["jobs"]} == {batch["batch_id"]}
    assert "batch_id" not in by_job[alone["job_id"]]
    entries = [e for e in service.parts.audit.latest(99) if e.event == "protect"]
    assert [e.details.get("batch") for e in entries] == [batch["batch_id"]] * 3 + [None] + [batch["batch_id"]] * 3 + [
        None
    ]
    with Session(service.parts.engine) as session:
        assert len(session.scalars(select(Delivery)).all()) == 4


def test_one_photo_is_answered_as_ever(service: Service) -> None:
    answer = service.upload(service.key("protect"))
    assert list(answer.json()) == ["job_id", "photo_id", "state", "restore_code"]
    assert answer.headers["location"] == f"/jobs/{answer.json()['job_id']}"
    assert service.parts.jobs.get(answer.json()["job_id"]).batch_id is None


def test_the_page_shows_the_first_of_several(service: Service) -> None:
    fields = service.sign_in("protect")
    files = [("photo", ("me.png", PHOTO.to_png(), "image/png"))] * 2
    answer = service.client.post("/try/protect", headers=fields, files=files, data={"password": PASSWORD})
    assert answer.status_code == 200
