"""Who may see what, and what nobody sees."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import OperationalError

from core.errors import PromiseNotMet
from core.jobs import heads
from core.jobs.states import State
from tests.api.conftest import PASSWORD, PHOTO, Service
from tests.fakes import LightEngine
from tests.worker.bench import failing


def test_who_may(service: Service) -> None:
    assert service.upload({}).status_code == 401
    assert service.upload({"Authorization": "Bearer sdr_nonsense"}).json()["code"] == "unauthenticated"
    assert service.upload(service.key("ops")).status_code == 403
    _, photo_id = service.protected()
    form = {"photo_id": photo_id, "password": PASSWORD, "reason": "dispute 1"}
    assert service.client.post("/restore", headers=service.key("protect"), data=form).status_code == 403
    assert service.client.get("/jobs", headers=service.key("protect")).status_code == 403
    assert service.client.get(f"/photos/{photo_id}", headers=service.key("ops")).status_code == 403
    assert service.client.delete(f"/photos/{photo_id}", headers=service.key("restore", "ops")).status_code == 403
    key = service.key("protect")["Authorization"].removeprefix("Bearer ")
    assert service.client.get(f"/photos/{photo_id}", headers={"X-API-Key": key}).status_code == 200


def test_other_tenants_find_nothing(service: Service) -> None:
    _, photo_id = service.protected()
    job_id = service.parts.jobs.page(None, None, 1)[0].id
    stranger = service.key("protect", "restore", tenant="rival")
    form = {"photo_id": photo_id, "password": PASSWORD, "reason": "curious"}
    answers = [
        service.client.get(f"/jobs/{job_id}", headers=stranger),
        service.client.get(f"/photos/{photo_id}", headers=stranger),
        service.client.delete(f"/photos/{photo_id}", headers=stranger),
        service.client.post("/restore", headers=stranger, data=form),
    ]
    assert [a.status_code for a in answers] == [404] * 4
    assert f"bank/restoration/{photo_id}.1" in service.keys.objects


def test_dashboards_see_no_person(service: Service) -> None:
    service.protected()
    page = service.client.get("/jobs", headers=service.key("ops")).json()
    assert [j["state"] for j in page["jobs"]] == [State.succeeded]
    assert "photo_id" not in page["jobs"][0]
    assert page["next"] is None
    may_all = ("protect", "restore", "ops")
    for watcher in (service.key("ops"), service.key("ops", tenant="rival"), service.key(*may_all, tenant="rival")):
        job = service.client.get(f"/jobs/{page['jobs'][0]['job_id']}", headers=watcher).json()
        assert (job["state"], job["photo_id"], job["result"]) == ("succeeded", None, None)


def test_what_was_measured_of_a_face_is_told_to_its_owner_alone(service: Service) -> None:
    headers = service.key("protect")
    location = service.upload(headers).headers["location"]
    service.work(LightEngine(failing(PromiseNotMet("missed", details={"report": {"held": False}}))))
    mine, others = (
        service.client.get(location, headers=who).json()["problem"]
        for who in (headers, service.key("ops", tenant="rival"))
    )
    assert (mine["code"], mine.get("report")) == ("promise_not_met", {"held": False})
    assert (others["code"], others.get("report")) == ("promise_not_met", None)


def test_a_link_is_only_for_keys_that_may_restore(service: Service) -> None:
    headers, photo_id = service.protected()
    form = {"photo_id": photo_id, "password": PASSWORD, "reason": "dispute 1"}
    location = service.client.post("/restore", headers=headers, data=form).headers["location"]
    service.work()
    for key in (service.key("protect"), service.key("restore", "ops", tenant="rival")):
        assert "link" not in (service.client.get(location, headers=key).json()["result"] or {})
    assert "link" in service.client.get(location, headers=service.key("restore")).json()["result"]


def test_no_secret_and_no_face_where_they_do_not_belong(service: Service, capfd: pytest.CaptureFixture[str]) -> None:
    answers: list[str] = []
    service.client.event_hooks["response"].append(lambda response: answers.append(response.read().decode()))
    headers, photo_id = service.protected()
    service.restored(headers, photo_id)
    service.restored(headers, photo_id, password="wrong horse battery")
    answers += [repr(service.parts), repr(service.parts.jobs.page(None, None, 9))]
    rows = b"".join(p.read_bytes() for p in service.folder.iterdir() if p.name.startswith("sider.db"))
    logged = "".join(capfd.readouterr())
    assert "restore_denied" in logged
    assert len(answers) == 7
    token = headers["Authorization"].split("_")[2]
    for secret in (PASSWORD, "wrong horse battery", token):
        assert secret.encode() not in rows
        assert secret not in logged
        assert not any(secret in answer for answer in answers)
        assert not any(secret.encode() in data for data in (service.photos.objects | service.keys.objects).values())
    assert PHOTO.to_png()[40:200] not in rows
    # Uploads and job secrets are gone; what is kept of the original is sealed.
    assert not [k for k in (service.photos.objects | service.keys.objects) if "/incoming/" in k or "/secrets/" in k]


def test_the_audit_log_tells_a_photos_life(service: Service) -> None:
    headers, photo_id = service.protected()
    service.restored(headers, photo_id)
    service.restored(headers, photo_id, password="wrong horse battery")
    form = {"photo_id": photo_id, "password": PASSWORD, "reason": "curious"}
    weak, stranger = service.key("protect"), service.key("restore", tenant="rival")
    for who, status in ((weak, 403), (stranger, 404), ({}, 401)):
        assert service.client.post("/restore", headers=who, data=form).status_code == status
    assert service.client.delete(f"/photos/{photo_id}", headers=headers).status_code == 200

    def actor(key: dict[str, str]) -> str:
        return f"key:{key['Authorization'].split('_')[1]}"

    entries = service.parts.audit.latest(99, subject=photo_id)
    assert [(e.event, e.outcome, e.tenant, e.actor) for e in entries] == [
        ("protect", "accepted", "bank", actor(headers)),
        ("protect", "succeeded", "bank", "service"),
        ("restore", "accepted", "bank", actor(headers)),
        ("restore", "succeeded", "bank", "service"),
        ("link", "given", "bank", actor(headers)),
        ("restore", "accepted", "bank", actor(headers)),
        ("restore", "restore_denied", "bank", "service"),
        ("restore", "not_found", "rival", actor(stranger)),
        ("erase", "accepted", "bank", actor(headers)),
        ("erase", "succeeded", "bank", actor(headers)),
    ]
    assert [e.details["reason"] for e in entries if e.event == "restore"] == ["dispute 1"] * 4 + ["curious"]
    # Turned away before the upload was read: which photo and why was never asked.
    [turned_away] = [e for e in service.parts.audit.latest(99) if e.outcome == "forbidden"]
    assert (turned_away.event, turned_away.actor, turned_away.subject) == ("restore", actor(weak), "")
    found = heads.verify(service.parts.audit, service.heads, service.parts.shelf.keyring, lambda done, all_: None)
    assert (found.faults, found.heads > 0) == ([], True)


def test_a_broken_log_keeps_the_way_closed(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """No link to an original is given, and nothing is erased, unless it can be told."""
    headers, photo_id = service.protected()
    form = {"photo_id": photo_id, "password": PASSWORD, "reason": "dispute 1"}
    location = service.client.post("/restore", headers=headers, data=form).headers["location"]
    service.work()

    def locked(*_: object) -> None:
        raise OperationalError("UPDATE audit_tip", {}, Exception("database is locked"))

    monkeypatch.setattr("core.jobs.audit.entry_hash", locked)
    assert service.client.get(location, headers=headers).status_code == 503
    assert service.client.delete(f"/photos/{photo_id}", headers=headers).status_code == 503
    assert f"bank/restoration/{photo_id}.1" in service.keys.objects
