"""What is refused, and what the API does when a part is lost."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError, TimeoutError

from api.problems import of_job
from core.errors import ConfigurationError, Unavailable
from tests.api.conftest import PASSWORD, PHOTO, Service
from tests.worker.bench import failing

PROBLEM = "application/problem+json"


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
        (None, {"presentation": "old"}, 422, "request_invalid"),
        (None, {"presentation": "feminine", "method": "cloak"}, 422, "option_not_taken"),
        (None, {"age": "34"}, 422, "request_invalid"),
        (None, {"age": "young", "method": "perceptface"}, 422, "option_not_taken"),
        (None, {"custody": "nobody"}, 422, "request_invalid"),
        (None, {"pasword": "correct horse battery"}, 422, "request_invalid"),
        (None, {"custody": "server"}, 422, "request_invalid"),  # with a password
        (None, {"custody": "caller", "password": "short for alone"}, 422, "request_invalid"),
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


def test_a_file_name_instead_of_a_file(service: Service) -> None:
    answer = service.client.post("/protect", headers=service.key("protect"), data={"photo": "me.jpg"})
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
    assert "photo: must be sent as a file" in answer.json()["detail"]


@pytest.mark.parametrize("call", ["/protect", "/restore"])
def test_a_misspelt_field_is_named_and_what_is_in_it_is_not_told(
    service: Service, capfd: pytest.CaptureFixture[str], call: str
) -> None:
    """A password that was overlooked would be one that nobody can restore with."""
    answer = service.client.post(
        call, headers=service.key("protect", "restore"), data={"pasword": PASSWORD, "photo_id": "pho_" + 32 * "0",
        "reason": "dispute"}, files={"photo": ("me.png", PHOTO.to_png(), "image/png")},
    )  # fmt: skip
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
    assert {"field": "pasword", "reason": "there is no such field; /docs has all of them"} in answer.json()["errors"]
    assert PASSWORD not in answer.text
    assert PASSWORD not in "".join(capfd.readouterr())


def test_an_oversized_body_never_reaches_the_handler(service: Service) -> None:
    huge = bytes(300_000 * 4 + 100_000)
    answer = service.client.post("/protect", content=huge, headers=service.key("protect"))
    assert (answer.status_code, answer.headers["content-type"]) == (413, PROBLEM)
    assert answer.json()["code"] == "photo_too_large"


def test_full_queue_sheds(service: Service) -> None:
    headers = service.key("protect")
    assert [service.upload(headers).status_code for _ in range(6)] == [202] * 5 + [503]
    answer = service.upload(headers)
    assert answer.json()["code"] == "queue_full"
    assert "retry-after" in answer.headers


def test_a_lost_broker_loses_no_job(service: Service) -> None:
    service.broker.down = True
    answer = service.upload(service.key("protect"))
    assert answer.status_code == 202
    assert service.parts.jobs.unpublished(older_than_seconds=0) == [answer.json()["job_id"]]


def test_a_lost_store_accepts_no_job(service: Service) -> None:
    service.photos.down = True
    answer = service.upload(service.key("protect"))
    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
    assert service.parts.jobs.depth() == 0


def test_a_lost_database_is_503(
    service: Service, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    locked = failing(OperationalError("SELECT 'private'", {}, Exception("database is locked")))
    headers = service.key("protect")
    monkeypatch.setattr("core.jobs.repository.Jobs.publish", locked)
    assert service.upload(headers).status_code == 202  # accepted is accepted
    monkeypatch.setattr("core.jobs.repository.Jobs.add", locked)
    answer = service.upload(headers)
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    assert "private" not in answer.text
    logged = "".join(capfd.readouterr())
    assert "OperationalError" in logged
    assert "private" not in logged


@pytest.mark.parametrize(
    "error", [OperationalError("SELECT", {}, Exception()), InterfaceError("SELECT", {}, Exception()), TimeoutError()]
)
def test_a_silent_database_is_503(service: Service, monkeypatch: pytest.MonkeyPatch, error: SQLAlchemyError) -> None:
    headers = service.key("protect")
    monkeypatch.setattr("core.jobs.photos.Photos.get", failing(error))
    answer = service.client.get("/photos/pho_1", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    assert "retry-after" in answer.headers


@pytest.mark.parametrize(
    "code", ["decoder_busy", "decoder_unavailable", "keyring_behind", "store_unavailable", "kms_unavailable"]
)
def test_a_job_that_a_lost_part_has_ended_says_so(code: str) -> None:
    assert of_job({"code": code, "message": "", "details": {}})["status"] == 503


def test_health(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.health.FRESH_SECONDS", 0)
    assert service.client.get("/health/live").status_code == 200
    assert service.client.get("/health/ready").json()["status"] == "ready"
    service.broker.down = True
    answer = service.client.get("/health/ready")
    assert answer.status_code == 200  # jobs are accepted all the same
    assert answer.json()["parts"]["broker"] == "broker_unavailable"
    assert service.upload(service.key("protect")).status_code == 202


def test_not_ready_without_its_store(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.parts.shelf.keys, "check", failing(Unavailable("away", code="store_unavailable")))
    answer = service.client.get("/health/ready")
    assert (answer.status_code, answer.json()["parts"]["key_store"]) == (503, "store_unavailable")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("PUT", "/protect", 405, "method_not_allowed"),
        ("POST", "/protect", 400, "request_invalid"),
        ("GET", "/jobs?limit=0", 422, "request_invalid"),
        ("GET", "/jobs?cursor=job_0", 404, "not_found"),
        ("GET", "/jobs?cursor=%00", 404, "not_found"),
        ("GET", "/jobs/%00", 404, "not_found"),
        ("GET", "/photos/%00", 404, "not_found"),
        ("DELETE", "/batches/%00", 404, "not_found"),
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


def test_unexpected_errors_leak_nothing(
    service: Service, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("core.jobs.repository.Jobs.add", failing(RuntimeError("the password is hunter2")))
    answer = service.upload(service.key("protect"))
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "hunter2" not in answer.text
    logged = "".join(capfd.readouterr())
    assert "RuntimeError" in logged
    assert "hunter2" not in logged


def test_what_is_not_set_up_is_told_to_the_operator_alone(
    service: Service, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    error = ConfigurationError("/srv/keyring.json cannot be read")
    monkeypatch.setattr("core.jobs.repository.Jobs.add", failing(error))
    answer = service.upload(service.key("protect"))
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "/srv" not in answer.text
    assert str(error) in "".join(capfd.readouterr())


def test_openapi_is_complete(service: Service) -> None:
    schema = service.client.get("/openapi.json").json()
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            good = next(a for s, a in operation["responses"].items() if s.startswith("2"))
            if path.endswith("/events"):
                assert "text/event-stream" in good["content"]
            else:
                answer = good["content"]["application/json"]["schema"]
                for choice in answer.get("anyOf", [answer]):
                    reference = choice["$ref"].rsplit("/", 1)[1]
                    assert "example" in schema["components"]["schemas"][reference], path
            problems = {s: a["content"] for s, a in operation["responses"].items() if s.startswith(("4", "5"))}
            if path.startswith("/health"):
                continue
            assert {"401", "429", "503"} <= problems.keys(), path
            for status, content in problems.items():
                assert content[PROBLEM]["example"]["status"] == int(status), (path, status)
    assert "Problem" in schema["components"]["schemas"]
