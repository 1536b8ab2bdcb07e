"""Requests that are sent again."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select, update

from api.idempotency import Once
from api.schemas import ProtectForm
from core.jobs.receipts import Receipts
from core.jobs.tables import Receipt
from tests.api.conftest import PASSWORD, Service
from tests.fakes import picture

KEY = {"Idempotency-Key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}


def answered(answer: Any) -> tuple[int, Any, str]:
    return answer.status_code, answer.json(), answer.headers["location"]


@pytest.mark.parametrize("password", [PASSWORD, None])
def test_a_repeated_protection_is_answered_again_and_done_once(service: Service, password: str | None) -> None:
    headers = service.key("protect", "restore") | KEY
    first = service.upload(headers, password=password)
    service.work()
    again = service.upload(headers, password=password)
    assert answered(again) == answered(first)
    assert first.status_code == 202
    assert (first.json()["restore_code"] is None) == (password is not None)  # given again: its owner may have lost it
    assert ("idempotent-replayed" in first.headers, again.headers["idempotent-replayed"]) == (False, "true")
    assert len(service.parts.jobs.page(None, None, 9)) == 1


def test_a_repeated_restoration_is_done_once(service: Service) -> None:
    headers, photo_id = service.protected()
    form = {"photo_id": photo_id, "password": PASSWORD, "reason": "dispute 1"}
    first, again = (service.client.post("/restore", headers=headers | KEY, data=form) for _ in range(2))
    assert answered(again) == answered(first)
    assert service.client.post("/restore", headers=headers | KEY, data={**form, "reason": "other"}).status_code == 422
    assert len(service.parts.jobs.page(None, None, 9)) == 2


@pytest.mark.parametrize(
    "change", [{"password": "another horse"}, {"variants": "2"}, {"seed": "1"}, {"photo": picture(seed=1)}]
)
def test_another_payload_is_refused(service: Service, change: dict[str, Any]) -> None:
    headers = service.key("protect") | KEY
    assert service.upload(headers).status_code == 202
    answer = service.upload(headers, **change)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert len(service.parts.jobs.page(None, None, 9)) == 1


def test_the_same_request_is_the_same_to_a_release_that_offers_more(service: Service) -> None:
    class LaterForm(ProtectForm):
        mood: str = "calm"

    sent: dict[str, Any] = {"photo": [], "password": PASSWORD, "variants": 2}
    here = Once(service.parts.receipts, print_key=b"key")
    earlier, later, other = (
        here._fingerprint(form, [b"photo"])
        for form in (ProtectForm(**sent), LaterForm(**sent), LaterForm(**sent, mood="wild"))
    )
    assert earlier == later != other
    headers = service.key("protect") | KEY
    assert answered(service.upload(headers)) == answered(service.upload(headers, variants=1))  # as it is anyway


def test_the_same_key_of_others_and_elsewhere_is_another_key(service: Service) -> None:
    headers, photo_id = service.protected()
    form = {"photo_id": photo_id, "password": PASSWORD, "reason": "dispute 1"}
    answers = [
        service.upload(key | KEY) for key in (headers, service.key("protect"), service.key("protect", tenant="b"))
    ]
    answers.append(service.client.post("/restore", headers=headers | KEY, data=form))
    assert [a.status_code for a in answers] == [202] * 4
    assert len({a.json()["job_id"] for a in answers}) == 4


def test_while_the_first_is_in_progress(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = service.key("protect") | KEY
    answers = []
    put = service.photos.put

    def meanwhile(*args: Any) -> None:
        monkeypatch.setattr(service.photos, "put", put)
        answers.append(service.upload(headers))
        put(*args)

    monkeypatch.setattr(service.photos, "put", meanwhile)
    assert service.upload(headers).status_code == 202
    assert [(a.status_code, a.json()["code"]) for a in answers] == [(409, "idempotency_in_progress")]
    assert answers[0].headers["retry-after"] == "1"
    assert len(service.parts.jobs.page(None, None, 9)) == 1


def test_what_was_not_accepted_may_be_sent_again(service: Service) -> None:
    headers = service.key("protect") | KEY
    service.photos.down = True
    assert service.upload(headers).status_code == 503
    service.photos.down = False
    assert service.upload(headers, password="short").status_code == 422
    assert service.upload(headers).status_code == 202


def test_what_was_broken_off_may_be_sent_again(service: Service) -> None:
    """As by a server that is told to stop."""
    here, form = Once(service.parts.receipts, "receipt"), ProtectForm(photo=[])
    with pytest.raises(KeyboardInterrupt), here.attempt(form, [b"photo"]):
        raise KeyboardInterrupt
    with here.attempt(form, [b"photo"]) as again:
        assert again.reservation


def test_answer_and_job_are_kept_together_or_not_at_all(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = service.key("protect") | KEY

    def taken(self: Receipts, *_: object) -> object:
        found = reserve(self, *_)
        with self.engine.begin() as connection:  # another process takes a reservation that seems dead
            connection.execute(update(Receipt).values(token="another"))
        return found

    reserve = Receipts.reserve
    monkeypatch.setattr(Receipts, "reserve", taken)
    answer = service.upload(headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_in_progress")
    assert service.parts.jobs.depth() == 0


def test_the_table_tells_nothing(service: Service) -> None:
    headers = service.key("protect") | KEY
    accepted = service.upload(headers, password=None).json()
    with service.parts.engine.connect() as connection:
        [row] = connection.execute(select(Receipt)).all()
    written = repr(tuple(row)).encode() + row.answer
    for secret in (accepted["restore_code"], accepted["job_id"], KEY["Idempotency-Key"], headers["Authorization"][7:]):
        assert secret.encode() not in written


def test_the_derived_keys_are_not_told(service: Service) -> None:
    once = Once(service.parts.receipts, "receipt", print_key=b"print secret", seal_key=b"seal secret")
    with once.attempt(ProtectForm(photo=[]), [b"photo"]) as attempt:
        assert attempt.seal_key == once.seal_key
        assert "secret" not in repr((once, attempt))


@pytest.mark.parametrize("key", ["", "x" * 256, "schl\u00fcssel".encode()])
def test_unusable_keys(service: Service, key: str | bytes) -> None:
    answer = service.upload(service.key("protect") | {"Idempotency-Key": key})
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"


@pytest.mark.parametrize(("custody", "coded"), [("server", False), ("split", True), ("caller", True)])
def test_a_repeated_protection_may_wait_and_is_told_the_code_of_its_custody(
    service: Service, custody: str, coded: bool
) -> None:
    headers = service.key("protect", "restore")
    first = service.upload(headers | KEY, password=None, custody=custody)
    service.work()
    again = service.upload(headers | KEY | {"Prefer": "wait=5"}, password=None, custody=custody)
    assert (first.status_code, again.status_code, again.headers["idempotent-replayed"]) == (202, 200, "true")
    code = again.json()["restore_code"]
    assert (code == first.json()["restore_code"], code is not None) == (True, coded)
    assert service.upload(headers | KEY, password=None, custody="server").status_code == (422 if coded else 202)
    form = {"photo_id": again.json()["photo_id"], "reason": "dispute 1"} | ({"password": code} if code else {})
    location = service.client.post("/restore", headers=headers, data=form).headers["location"]
    service.work()
    assert service.client.get(location, headers=headers).json()["state"] == "succeeded"
