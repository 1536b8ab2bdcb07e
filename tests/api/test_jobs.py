"""Jobs behind the API: cancelled, late."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import update

from core.jobs import database
from core.jobs.tables import Job
from tests.api.conftest import PASSWORD, Service
from tests.fakes import LightEngine
from worker.reaper import Reaper


def test_a_queued_job_is_cancelled_and_leaves_nothing(service: Service) -> None:
    headers = service.key("protect")
    location = service.upload(headers).headers["location"]
    for _ in range(2):  # may be repeated
        answer = service.client.delete(location, headers=headers)
        assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
        assert not (service.photos.objects | service.keys.objects)
    service.work()
    assert service.client.get(location, headers=headers).json()["state"] == "cancelled"
    assert not (service.photos.objects | service.keys.objects)
    actor = f"key:{headers['Authorization'].split('_')[1]}"
    assert [(e.outcome, e.actor) for e in service.parts.audit.latest(2)] == [("accepted", actor), ("cancelled", actor)]


def test_a_running_protection_is_cancelled_and_leaves_nothing(service: Service) -> None:
    headers = service.key("protect")
    accepted = service.upload(headers)
    answers = []
    service.work(
        LightEngine(before=lambda: answers.append(service.client.delete(accepted.headers["location"], headers=headers)))
    )
    assert [(a.status_code, a.json()["state"]) for a in answers] == [(200, "cancelled")]
    photo = service.client.get(f"/photos/{accepted.json()['photo_id']}", headers=headers).json()
    assert (photo["state"], photo["variants"], photo["protected_at"]) == ("cancelled", [], None)
    assert not (service.photos.objects | service.keys.objects)


def test_a_cancelled_restoration_leaves_the_photo_alone(service: Service) -> None:
    headers, photo_id = service.protected()
    before = set(service.photos.objects), set(service.keys.objects)
    form = {"photo_id": photo_id, "password": PASSWORD, "reason": "dispute 1"}
    location = service.client.post("/restore", headers=headers, data=form).headers["location"]
    service.work(LightEngine(before=lambda: service.client.delete(location, headers=headers)))
    assert (set(service.photos.objects), set(service.keys.objects)) == before
    assert service.restored(headers, photo_id)["state"] == "succeeded"


def test_cancelled_while_the_store_is_away(service: Service) -> None:
    headers = service.key("protect")
    location = service.upload(headers).headers["location"]
    service.photos.down = service.keys.down = True
    assert service.client.delete(location, headers=headers).json()["state"] == "cancelled"
    service.photos.down = service.keys.down = False
    Reaper(service.context(), lambda job_id: None).sweep()
    assert not (service.photos.objects | service.keys.objects)


def test_who_may_cancel_what(service: Service) -> None:
    headers = service.key("protect")
    location = service.upload(headers).headers["location"]
    refused = {
        404: service.key("protect", "restore", tenant="rival"),
        403: service.key("restore"),
    }
    for status, key in refused.items():
        assert service.client.delete(location, headers=key).status_code == status
    assert service.client.delete(location, headers=service.key("ops")).status_code == 403
    service.work()
    answer = service.client.delete(location, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "state_conflict")
    assert service.client.get(location, headers=headers).json()["state"] == "succeeded"


def test_a_late_job_expires_with_a_clear_problem(service: Service) -> None:
    headers = service.key("protect")
    accepted = service.upload(headers, expires_in="600")
    job = service.client.get(accepted.headers["location"], headers=headers).json()
    assert job["expires_at"] is not None
    with service.parts.engine.begin() as connection:
        connection.execute(update(Job).values(expires_at=database.now() - timedelta(seconds=1)))
    service.work()
    Reaper(service.context(), lambda job_id: None).sweep()
    job = service.client.get(accepted.headers["location"], headers=headers).json()
    assert (job["state"], job["problem"]["code"], job["problem"]["status"]) == ("expired", "job_expired", 504)
    assert not (service.photos.objects | service.keys.objects)


@pytest.mark.parametrize("seconds", ["9", "86401", "soon"])
def test_deadlines_are_bounded(service: Service, seconds: str) -> None:
    headers, photo_id = service.protected()
    form = {"photo_id": photo_id, "password": PASSWORD, "reason": "dispute 1", "expires_in": seconds}
    for answer in (
        service.upload(headers, expires_in=seconds),
        service.client.post("/restore", headers=headers, data=form),
    ):
        assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
        assert answer.json()["detail"].startswith("expires_in: ")
