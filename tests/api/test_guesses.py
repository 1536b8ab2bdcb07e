"""A photo takes so many wrong passwords in an hour."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from core.jobs.database import now
from core.vault.shelf import Shelf
from tests.api.conftest import PASSWORD, Service
from tests.fakes import picture

WRONG = "wrong horse battery"


def attempt(service: Service, headers: dict[str, str], photo_id: str, password: str = WRONG) -> Any:
    form = {"photo_id": photo_id, "password": password, "reason": "dispute 1"}
    return service.client.post("/restore", headers=headers, data=form)


def test_wrong_passwords_close_a_photo_for_a_while(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service.change(max_guesses=3)
    headers, photo_id = service.protected()
    other = service.upload(headers).json()["photo_id"]
    for _ in range(3):
        assert service.restored(headers, photo_id, WRONG)["problem"]["code"] == "restore_denied"
    answer = attempt(service, headers, photo_id, PASSWORD)
    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_guesses")
    assert 3500 < int(answer.headers["retry-after"]) <= 3600
    assert service.parts.audit.latest(1, subject=photo_id)[0].outcome == "too_many_guesses"
    assert service.restored(headers, other)["state"] == "succeeded"
    monkeypatch.setattr("core.jobs.guesses.now", lambda: now() + timedelta(hours=1))
    assert service.restored(headers, photo_id)["state"] == "succeeded"


def test_the_photos_of_a_batch_take_wrong_passwords_together(service: Service) -> None:
    """Their password is one, so whoever guesses could go from photo to photo."""
    service.change(max_guesses=3)
    headers = service.key("protect", "restore")
    files = [("photo", ("me.png", picture(seed=n).to_png(), "image/png")) for n in range(2)]
    sent = service.client.post("/protect", headers=headers, data={"password": PASSWORD}, files=files)
    one, two = (job["photo_id"] for job in sent.json()["jobs"])
    other = service.upload(headers).json()["photo_id"]
    service.work()
    for photo_id in (one, two, one):
        assert service.restored(headers, photo_id, WRONG)["problem"]["code"] == "restore_denied"
    for photo_id in (one, two):
        assert attempt(service, headers, photo_id, PASSWORD).json()["code"] == "too_many_guesses"
        assert service.parts.audit.latest(1, subject=photo_id)[0].outcome == "too_many_guesses"
    assert service.restored(headers, other)["state"] == "succeeded"


def test_right_passwords_are_not_counted(service: Service) -> None:
    service.change(max_guesses=2)
    headers, photo_id = service.protected()
    assert [service.restored(headers, photo_id)["state"] for _ in range(4)] == ["succeeded"] * 4


def test_tries_on_their_way_count(service: Service) -> None:
    """Or all could be sent before the first is answered."""
    service.change(max_guesses=2)
    headers, photo_id = service.protected()
    answers = [attempt(service, headers, photo_id) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert int(answers[2].headers["retry-after"]) == 10


def test_of_two_tries_that_were_both_let_in_one_is_accepted(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service.change(max_guesses=1)
    headers, photo_id = service.protected()
    kdf, others = Shelf.restoration_kdf, list[Any]()

    def meanwhile(*words: Any) -> Any:
        monkeypatch.setattr(Shelf, "restoration_kdf", kdf)
        others.append(attempt(service, headers, photo_id))
        return kdf(*words)

    monkeypatch.setattr(Shelf, "restoration_kdf", meanwhile)
    answer = attempt(service, headers, photo_id)
    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_guesses")
    assert [other.status_code for other in others] == [202]
    assert service.parts.jobs.depth() == 1
