"""The contract of the API, from upload to erasure."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy.exc import OperationalError

from core.errors import PromiseNotMet
from core.jobs.photos import Photos
from core.jobs.states import State
from tests.api.conftest import Service
from tests.fakes import LightEngine, picture

PASSWORD = "correct horse battery"
PHOTO = picture()
PROBLEM = "application/problem+json"


def upload(service: Service, headers: dict[str, str], **form: Any) -> Any:
    data = {"password": PASSWORD, **form}
    return service.client.post(
        "/protect", files={"photo": ("me.png", PHOTO.to_png(), "image/png")}, headers=headers,
        data={k: v for k, v in data.items() if v is not None},
    )  # fmt: skip


def protected(service: Service, **form: Any) -> tuple[dict[str, str], str]:
    headers = service.key("protect", "restore")
    accepted = upload(service, headers, **form).json()
    service.work()
    return headers, accepted["photo_id"]


def restored(service: Service, headers: dict[str, str], photo_id: str, password: str = PASSWORD, **more: Any) -> Any:
    answer = service.client.post(
        "/restore",
        headers=headers,
        data={"photo_id": photo_id, "password": password, "reason": "dispute 1"},
        **more,
    )
    assert answer.status_code == 202, answer.text
    service.work()
    return service.client.get(answer.headers["location"], headers=headers).json()


def stored_picture(service: Service, link: str) -> np.ndarray:
    with Image.open(io.BytesIO(service.photos.objects[link.removeprefix("memory:")])) as image:
        return np.asarray(image)


def test_protect_restore_erase(service: Service) -> None:
    headers = service.key("protect", "restore")
    answer = upload(service, headers, variants="2")
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/jobs/{answer.json()['job_id']}"
    assert "retry-after" in answer.headers
    assert answer.json()["restore_code"] is None
    waiting = service.client.get(answer.headers["location"], headers=headers).json()
    assert (waiting["state"], waiting["position"]) == ("queued", 0)
    service.work()
    job = service.client.get(answer.headers["location"], headers=headers).json()
    assert (job["state"], job["progress"], job["result"]["variants"]) == ("succeeded", 1.0, 2)
    photo_id = job["photo_id"]
    photo = service.client.get(f"/photos/{photo_id}", headers=headers).json()
    pictures = [stored_picture(service, v["link"]) for v in photo["variants"]]
    assert len(pictures) == 2
    assert all((p != PHOTO.pixels).any() for p in pictures)

    back = restored(service, headers, photo_id)
    assert back["state"] == "succeeded"
    assert service.client.get(f"/jobs/{back['job_id']}", headers=headers).json()["result"].get("link") is None
    assert (stored_picture(service, back["result"]["link"]) == PHOTO.pixels).all()

    receipt = service.client.delete(f"/photos/{photo_id}", headers=headers).json()
    assert receipt["key_destroyed"]
    assert receipt["objects_deleted"] == 3  # two variants and what was restored
    assert service.client.get(f"/photos/{photo_id}", headers=headers).status_code == 404
    assert service.client.delete(f"/photos/{photo_id}", headers=headers).status_code == 404
    assert not service.keys.objects
    assert not service.photos.objects


def test_erased_before_it_was_protected(service: Service) -> None:
    headers = service.key("protect")
    accepted = upload(service, headers)
    assert service.client.delete(f"/photos/{accepted.json()['photo_id']}", headers=headers).status_code == 200
    assert not (service.photos.objects | service.keys.objects)  # the upload is gone at once
    service.work()
    job = service.client.get(accepted.headers["location"], headers=headers).json()
    assert (job["state"], job["problem"]["status"]) == ("failed", 404)
    assert not (service.photos.objects | service.keys.objects)


def test_a_worker_in_the_middle_of_erasure_leaves_no_key(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stores key and pictures after erasure has deleted them, and before erasure marks the row."""
    headers = service.key("protect")
    photo_id = upload(service, headers).json()["photo_id"]
    mark = service.parts.photos.mark_erased

    def work_then_mark(self: Photos, photo: str) -> None:
        service.photos.objects[f"bank/protected/{photo}/v1.png"] = b"late"
        service.keys.objects[f"bank/restoration/{photo}"] = b"late"
        mark(photo)

    monkeypatch.setattr(Photos, "mark_erased", work_then_mark)
    assert service.client.delete(f"/photos/{photo_id}", headers=headers).status_code == 200
    assert not (service.photos.objects | service.keys.objects)


def test_erasure_cut_short_can_be_repeated(service: Service) -> None:
    headers, photo_id = protected(service)
    service.photos.down = True
    assert service.client.delete(f"/photos/{photo_id}", headers=headers).status_code == 503
    assert not service.keys.objects  # the key went first
    service.photos.down = False
    assert service.client.delete(f"/photos/{photo_id}", headers=headers).json()["key_destroyed"]
    assert not service.photos.objects


def test_any_variant_restores_from_the_callers_file(service: Service) -> None:
    headers, photo_id = protected(service, variants="2")
    second = service.photos.objects[f"bank/protected/{photo_id}/v2.png"]
    back = restored(service, headers, photo_id, files={"photo": ("p.png", second, "image/png")})
    assert (stored_picture(service, back["result"]["link"]) == PHOTO.pixels).all()


def test_wrong_password_altered_key_altered_photo_are_one_answer(service: Service) -> None:
    headers, photo_id = protected(service)
    wrong = restored(service, headers, photo_id, password="wrong horse battery")["problem"]
    other = Image.fromarray(picture(seed=3).pixels)
    buffer = io.BytesIO()
    other.save(buffer, "PNG")
    altered_photo = restored(service, headers, photo_id, files={"photo": ("p.png", buffer.getvalue(), "image/png")})[
        "problem"
    ]
    name = f"bank/restoration/{photo_id}"
    sealed = bytearray(service.keys.objects[name])
    sealed[-1] ^= 1
    service.keys.objects[name] = bytes(sealed)
    altered_key = restored(service, headers, photo_id)["problem"]
    assert wrong == altered_photo == altered_key
    assert (wrong["code"], wrong["status"]) == ("restore_denied", 403)
    assert not [k for k in service.photos.objects if "/restored/" in k]


def test_without_a_password_a_code_is_shown_once(service: Service) -> None:
    headers = service.key("protect", "restore")
    accepted = upload(service, headers, password=None).json()
    service.work()
    assert restored(service, headers, accepted["photo_id"], accepted["restore_code"])["state"] == "succeeded"


def test_no_secret_and_no_face_where_they_do_not_belong(service: Service, capfd: pytest.CaptureFixture[str]) -> None:
    answers: list[str] = []
    service.client.event_hooks["response"].append(lambda response: answers.append(response.read().decode()))
    headers, photo_id = protected(service)
    restored(service, headers, photo_id)
    restored(service, headers, photo_id, password="wrong horse battery")
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


@pytest.mark.parametrize(
    ("data", "form", "status", "code"),
    [
        (b"<html>", {}, 415, "photo_format"),
        (b"", {}, 422, "photo_empty"),
        (PHOTO.to_png()[:300], {}, 422, "photo_damaged"),
        (b"\xff\xd8\xff" + bytes(400_000), {}, 413, "photo_too_large"),
        (None, {"preset": "loud"}, 422, "preset_unknown"),
        (None, {"method": "../sider"}, 422, "request_invalid"),
        (None, {"variants": "0"}, 422, "request_invalid"),
        (None, {"variants": "9"}, 422, "request_invalid"),
        (None, {"password": "short"}, 422, "request_invalid"),
        (None, {"seed": "-1"}, 422, "request_invalid"),
    ],
)
def test_bad_requests_are_refused_before_anything_is_kept(
    service: Service, data: bytes | None, form: dict[str, str], status: int, code: str
) -> None:
    photo = PHOTO.to_png() if data is None else data
    answer = service.client.post(
        "/protect", files={"photo": ("me.png", photo, "image/png")}, headers=service.key("protect"),
        data={"password": PASSWORD, **form},
    )  # fmt: skip
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == PROBLEM
    assert form.get("password", "\0") not in answer.text
    assert not service.photos.objects
    assert not service.keys.objects
    assert service.parts.jobs.depth() == 0


def test_an_oversized_body_never_reaches_the_handler(service: Service) -> None:
    huge = bytes(300_000 * 4 + 100_000)
    answer = service.client.post("/protect", content=huge, headers=service.key("protect"))
    assert (answer.status_code, answer.headers["content-type"]) == (413, PROBLEM)
    assert answer.json()["code"] == "photo_too_large"


def test_who_may(service: Service) -> None:
    assert upload(service, {}).status_code == 401
    assert upload(service, {"Authorization": "Bearer sdr_nonsense"}).json()["code"] == "unauthenticated"
    assert upload(service, service.key("ops")).status_code == 403
    _, photo_id = protected(service)
    form = {"photo_id": photo_id, "password": PASSWORD, "reason": "dispute 1"}
    assert service.client.post("/restore", headers=service.key("protect"), data=form).status_code == 403
    assert service.client.get("/jobs", headers=service.key("protect")).status_code == 403
    assert service.client.get(f"/photos/{photo_id}", headers=service.key("ops")).status_code == 403
    assert service.client.delete(f"/photos/{photo_id}", headers=service.key("restore", "ops")).status_code == 403
    key = service.key("protect")["Authorization"].removeprefix("Bearer ")
    assert service.client.get(f"/photos/{photo_id}", headers={"X-API-Key": key}).status_code == 200


def test_other_tenants_find_nothing(service: Service) -> None:
    _, photo_id = protected(service)
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
    assert f"bank/restoration/{photo_id}" in service.keys.objects


def test_full_queue_sheds(service: Service) -> None:
    headers = service.key("protect")
    assert [upload(service, headers).status_code for _ in range(6)] == [202] * 5 + [503]
    answer = upload(service, headers)
    assert answer.json()["code"] == "queue_full"
    assert "retry-after" in answer.headers


def test_a_lost_broker_loses_no_job(service: Service) -> None:
    service.broker.down = True
    answer = upload(service, service.key("protect"))
    assert answer.status_code == 202
    assert service.parts.jobs.unpublished(older_than_seconds=0) == [answer.json()["job_id"]]


def test_a_lost_store_accepts_no_job(service: Service) -> None:
    service.photos.down = True
    answer = upload(service, service.key("protect"))
    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
    assert service.parts.jobs.depth() == 0


def test_a_missed_promise_fails_with_the_numbers_and_without_a_picture(service: Service) -> None:
    def miss() -> None:
        raise PromiseNotMet("missed", details={"report": {"held": False}})

    headers = service.key("protect")
    answer = upload(service, headers)
    service.work(LightEngine(before=miss))
    job = service.client.get(answer.headers["location"], headers=headers).json()
    assert (job["state"], job["problem"]["code"]) == ("failed", "promise_not_met")
    assert job["problem"]["report"] == {"held": False}
    assert not service.photos.objects


def test_restore_before_the_photo_is_protected(service: Service) -> None:
    headers = service.key("protect", "restore")
    photo_id = upload(service, headers).json()["photo_id"]
    form = {"photo_id": photo_id, "password": PASSWORD, "reason": "too early"}
    assert service.client.post("/restore", headers=headers, data=form).status_code == 409


def test_dashboards_see_no_person(service: Service) -> None:
    protected(service)
    page = service.client.get("/jobs", headers=service.key("ops")).json()
    assert [j["state"] for j in page["jobs"]] == [State.succeeded]
    assert "photo_id" not in page["jobs"][0]
    assert page["next"] is None
    for watcher in (service.key("ops", tenant="rival"), service.key("protect", "restore", "ops", tenant="rival")):
        job = service.client.get(f"/jobs/{page['jobs'][0]['job_id']}", headers=watcher).json()
        assert (job["state"], job["photo_id"], job["result"]) == ("succeeded", None, None)


def test_a_link_is_only_for_keys_that_may_restore(service: Service) -> None:
    headers, photo_id = protected(service)
    form = {"photo_id": photo_id, "password": PASSWORD, "reason": "dispute 1"}
    location = service.client.post("/restore", headers=headers, data=form).headers["location"]
    service.work()
    for key in (service.key("protect"), service.key("restore", "ops", tenant="rival")):
        assert "link" not in (service.client.get(location, headers=key).json()["result"] or {})
    assert "link" in service.client.get(location, headers=service.key("restore")).json()["result"]


def test_a_lost_database_is_503(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(*_: object) -> None:
        raise OperationalError("SELECT 'private'", {}, Exception("database is locked"))

    headers = service.key("protect")
    monkeypatch.setattr("core.jobs.repository.Jobs.mark_published", locked)
    assert upload(service, headers).status_code == 202  # accepted is accepted
    monkeypatch.setattr("core.jobs.repository.Jobs.add", locked)
    answer = upload(service, headers)
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    assert "private" not in answer.text


def test_health(service: Service) -> None:
    assert service.client.get("/health/live").status_code == 200
    assert service.client.get("/health/ready").json()["status"] == "ready"
    service.broker.down = True
    answer = service.client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json()["parts"]["broker"] == "broker_unavailable"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("PUT", "/protect", 405, "method_not_allowed"),
        ("POST", "/protect", 400, "request_invalid"),
        ("GET", "/jobs?limit=0", 422, "request_invalid"),
        ("GET", "/jobs?cursor=job_0", 404, "not_found"),
    ],
)
def test_framework_errors_are_problems_too(service: Service, method: str, path: str, status: int, code: str) -> None:
    headers = service.key("protect", "ops") | ({"Content-Type": "multipart/form-data"} if method == "POST" else {})
    answer = service.client.request(method, path, headers=headers, content=b"no boundary")
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
    body = answer.json()
    assert (body["status"], body["code"], body["type"]) == (status, code, f"urn:sider:problem:{code}")
    assert body["title"]
    assert body["detail"]


def test_unexpected_errors_leak_nothing(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: object) -> None:
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr("core.jobs.repository.Jobs.add", explode)
    answer = upload(service, service.key("protect"))
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "hunter2" not in answer.text


def test_openapi_is_complete(service: Service) -> None:
    schema = service.client.get("/openapi.json").json()
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            good = next(a for s, a in operation["responses"].items() if s.startswith("2"))
            reference = good["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
            assert "example" in schema["components"]["schemas"][reference], path
            problems = {s: a["content"] for s, a in operation["responses"].items() if s.startswith(("4", "5"))}
            if path.startswith("/health"):
                continue
            assert {"401", "503"} <= problems.keys(), path
            for status, content in problems.items():
                assert content[PROBLEM]["example"]["status"] == int(status), (path, status)
    assert "Problem" in schema["components"]["schemas"]
