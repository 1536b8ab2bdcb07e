"""A photo's life behind the API: protected, restored, erased."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from PIL import Image

from core.errors import PromiseNotMet
from core.jobs.audit import Entry
from core.jobs.photos import Photos
from core.vault import passwords
from core.vault.custody import Custody
from core.vault.envelope import Binding, seal
from core.vault.keyring import Keyring
from core.vault.restoration import Restoration
from core.vault.shelf import Shelf
from tests.api.conftest import PASSWORD, PHOTO, Service
from tests.fakes import LightEngine, picture


def test_protect_restore_erase(service: Service) -> None:
    headers = service.key("protect", "restore")
    answer = service.upload(headers, variants="2")
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
    pictures = [service.stored(v["link"]) for v in photo["variants"]]
    assert len(pictures) == 2
    assert all((p != PHOTO.pixels).any() for p in pictures)

    back = service.restored(headers, photo_id)
    assert back["state"] == "succeeded"
    assert service.client.get(f"/jobs/{back['job_id']}", headers=headers).json()["result"].get("link") is None
    assert (service.stored(back["result"]["link"]) == PHOTO.pixels).all()

    receipt = service.client.delete(f"/photos/{photo_id}", headers=headers).json()
    assert receipt["key_destroyed"]
    assert receipt["objects_deleted"] == 3  # two variants and what was restored
    assert service.client.get(f"/photos/{photo_id}", headers=headers).status_code == 404
    assert service.client.delete(f"/photos/{photo_id}", headers=headers).status_code == 404
    assert not service.keys.objects
    assert not service.photos.objects
    for job_id in (job["job_id"], back["job_id"]):
        ended = service.client.get(f"/jobs/{job_id}", headers=headers).json()
        assert (ended["state"], ended["result"]) == ("succeeded", None)


@pytest.mark.parametrize("asked", [{}, {"presentation": "feminine"}, {"age": "old"}])
def test_a_look_that_is_asked_for_reaches_the_engine(service: Service, asked: dict[str, str]) -> None:
    headers, photo_id = service.protected(**asked)
    report = service.client.get(f"/photos/{photo_id}", headers=headers).json()["report"]
    assert {name: report[name] for name in ("presentation", "age")} == {"presentation": "keep", "age": "keep"} | asked


def test_erased_before_it_was_protected(service: Service) -> None:
    headers = service.key("protect")
    accepted = service.upload(headers)
    assert service.client.delete(f"/photos/{accepted.json()['photo_id']}", headers=headers).status_code == 200
    assert not (service.photos.objects | service.keys.objects)  # the upload is gone at once
    service.work()
    job = service.client.get(accepted.headers["location"], headers=headers).json()
    assert (job["state"], job["problem"]["status"]) == ("failed", 404)
    assert not (service.photos.objects | service.keys.objects)


def test_a_worker_in_the_middle_of_erasure_leaves_no_key(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stores key and pictures after erasure has deleted them, and before erasure marks the row."""
    headers = service.key("protect")
    photo_id = service.upload(headers).json()["photo_id"]
    mark = service.parts.photos.mark_erased

    def work_then_mark(self: Photos, photo: str, receipt: Entry) -> None:
        service.photos.objects[f"bank/protected/{photo}/v1.png"] = b"late"
        service.keys.objects[f"bank/restoration/{photo}"] = b"late"
        mark(photo, receipt)

    monkeypatch.setattr(Photos, "mark_erased", work_then_mark)
    assert service.client.delete(f"/photos/{photo_id}", headers=headers).status_code == 200
    assert not (service.photos.objects | service.keys.objects)


def test_erasure_cut_short_can_be_repeated(service: Service) -> None:
    headers, photo_id = service.protected()
    service.photos.down = True
    assert service.client.delete(f"/photos/{photo_id}", headers=headers).status_code == 503
    assert not service.keys.objects  # the key went first
    service.photos.down = False
    assert service.client.delete(f"/photos/{photo_id}", headers=headers).json()["key_destroyed"]
    assert not service.photos.objects


def test_any_variant_restores_from_the_callers_file(service: Service) -> None:
    headers, photo_id = service.protected(variants="2")
    second = service.photos.objects[f"bank/protected/{photo_id}.1/v2.png"]
    back = service.restored(headers, photo_id, files={"photo": ("p.png", second, "image/png")})
    assert (service.stored(back["result"]["link"]) == PHOTO.pixels).all()


def test_wrong_password_altered_key_altered_photo_are_one_answer(service: Service) -> None:
    headers, photo_id = service.protected()
    wrong = service.restored(headers, photo_id, password="wrong horse battery")["problem"]
    other = Image.fromarray(picture(seed=3).pixels)
    buffer = io.BytesIO()
    other.save(buffer, "PNG")
    altered_photo = service.restored(headers, photo_id, files={"photo": ("p.png", buffer.getvalue(), "image/png")})[
        "problem"
    ]
    name = f"bank/restoration/{photo_id}.1"
    sealed = bytearray(service.keys.objects[name])
    sealed[-1] ^= 1
    service.keys.objects[name] = bytes(sealed)
    altered_key = service.restored(headers, photo_id)["problem"]
    assert wrong == altered_photo == altered_key
    assert (wrong["code"], wrong["status"]) == ("restore_denied", 403)
    assert not [k for k in service.photos.objects if "/restored/" in k]


def test_without_a_password_a_code_is_shown_once(service: Service) -> None:
    headers = service.key("protect", "restore")
    accepted = service.upload(headers, password=None).json()
    service.work()
    assert service.restored(headers, accepted["photo_id"], accepted["restore_code"])["state"] == "succeeded"


def test_a_missed_promise_fails_with_the_numbers_and_without_a_picture(service: Service) -> None:
    def miss() -> None:
        raise PromiseNotMet("missed", details={"report": {"held": False}})

    headers = service.key("protect")
    answer = service.upload(headers)
    service.work(LightEngine(before=miss))
    job = service.client.get(answer.headers["location"], headers=headers).json()
    assert (job["state"], job["problem"]["code"]) == ("failed", "promise_not_met")
    assert job["problem"]["report"] == {"held": False}
    photo = service.client.get(f"/photos/{job['photo_id']}", headers=headers).json()
    assert (photo["state"], photo["problem"]["code"], photo["variants"]) == ("failed", "promise_not_met", [])
    assert not service.photos.objects
    service.client.delete(f"/photos/{job['photo_id']}", headers=headers)
    erased = service.client.get(answer.headers["location"], headers=headers).json()["problem"]
    assert (erased["code"], "report" in erased) == ("promise_not_met", False)


def test_restore_before_the_photo_is_protected(service: Service) -> None:
    headers = service.key("protect", "restore")
    photo_id = service.upload(headers).json()["photo_id"]
    form = {"photo_id": photo_id, "password": PASSWORD, "reason": "too early"}
    assert service.client.post("/restore", headers=headers, data=form).status_code == 409


def test_a_reason_can_be_kept(service: Service) -> None:
    headers, photo_id = service.protected()
    form = {"photo_id": photo_id, "password": PASSWORD, "reason": "dispute\0 1"}
    answer = service.client.post("/restore", headers=headers, data=form)
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")


def restore_form(photo_id: str, **more: str) -> dict[str, str]:
    return {"photo_id": photo_id, "reason": "dispute 1", **more}


def test_a_photo_erased_while_it_is_restored_leaves_nothing(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    headers, photo_id = service.protected()
    put = Shelf.put_restored

    def after_the_erasure(self: Shelf, *args: Any) -> None:
        assert service.client.delete(f"/photos/{photo_id}", headers=headers).status_code == 200
        put(self, *args)

    monkeypatch.setattr(Shelf, "put_restored", after_the_erasure)
    assert service.restored(headers, photo_id)["problem"]["code"] == "not_found"
    assert not (service.photos.objects | service.keys.objects)


def test_a_link_that_cannot_be_made_is_not_used_up(service: Service) -> None:
    headers, photo_id = service.protected()
    answer = service.client.post("/restore", headers=headers, data=restore_form(photo_id, password=PASSWORD))
    service.work()
    where = answer.headers["location"]
    service.photos.down = True
    assert service.client.get(where, headers=headers).json()["code"] == "store_unavailable"
    service.photos.down = False
    link = service.client.get(where, headers=headers).json()["result"]["link"]
    assert (service.stored(link) == PHOTO.pixels).all()


def test_links_live_as_long_as_the_service_is_told_and_name_the_file(service: Service) -> None:
    service.change(link_seconds=7)
    headers, photo_id = service.protected(variants="2")
    variants = service.client.get(f"/photos/{photo_id}", headers=headers).json()["variants"]
    links = [*(variant["link"] for variant in variants), service.restored(headers, photo_id)["result"]["link"]]
    assert [parse_qs(urlsplit(link).query) for link in links] == [
        {"seconds": ["7"], "filename": [name]}
        for name in (f"{photo_id}.v1.png", f"{photo_id}.v2.png", f"{photo_id}.png")
    ]


def test_custody_server_needs_no_password(service: Service) -> None:
    headers, photo_id = service.protected(password=None, custody="server")
    assert service.client.get(f"/photos/{photo_id}", headers=headers).json()["custody"] == "server"
    answer = service.client.post("/restore", headers=headers, data=restore_form(photo_id, password=PASSWORD))
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
    answer = service.client.post("/restore", headers=headers, data=restore_form(photo_id))
    service.work()
    job = service.client.get(answer.headers["location"], headers=headers).json()
    assert (service.stored(job["result"]["link"]) == PHOTO.pixels).all()


@pytest.mark.parametrize("custody", ["split", "caller"])
def test_the_other_custodies_need_one(service: Service, custody: str) -> None:
    headers, photo_id = service.protected(custody=custody)
    assert service.client.get(f"/photos/{photo_id}", headers=headers).json()["custody"] == custody
    for more in ({}, {"password": ""}):
        answer = service.client.post("/restore", headers=headers, data=restore_form(photo_id, **more))
        assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
    assert service.restored(headers, photo_id, "wrong horse battery")["problem"]["code"] == "restore_denied"
    assert service.restored(headers, photo_id)["state"] == "succeeded"


@pytest.mark.parametrize(("custody", "opens"), [("server", False), ("split", False), ("caller", True)])
def test_what_a_lost_keyring_costs(service: Service, custody: str, opens: bool) -> None:
    headers, photo_id = service.protected(custody=custody, password=None if custody == "server" else PASSWORD)
    service.parts.shelf.keyring.path.unlink()
    other = replace(service.parts.shelf, keyring=Keyring.open_or_create(service.folder / "new.json"))
    service.client.app.state.parts = service.parts = replace(service.parts, shelf=other)
    form = restore_form(photo_id, **({} if custody == "server" else {"password": PASSWORD}))
    answer = service.client.post("/restore", headers=headers, data=form)
    service.work()
    job = service.client.get(answer.headers["location"], headers=headers).json()
    assert (job["state"] == "succeeded") == opens
    assert opens or job["problem"]["code"] == "restore_denied"


def test_custody_caller_gives_a_code_too(service: Service) -> None:
    headers = service.key("protect", "restore")
    accepted = service.upload(headers, password=None, custody="caller").json()
    service.work()
    assert service.restored(headers, accepted["photo_id"], accepted["restore_code"])["state"] == "succeeded"
    assert service.upload(headers, password=None, custody="server").json()["restore_code"] is None


def test_the_log_tells_the_custody(service: Service) -> None:
    _, photo_id = service.protected(custody="caller")
    assert [e.details["custody"] for e in service.parts.audit.latest(9, subject=photo_id)] == ["caller"] * 2


def test_a_key_that_anybody_could_have_sealed_is_denied(service: Service) -> None:
    """Custody caller needs no keyring; put in the place of another photo's key, such an item must not open."""
    headers, photo_id = service.protected()
    made, other = f"{photo_id}.1", picture(seed=3).pixels
    protected = service.stored(f"memory:bank/protected/{made}/v1.png")
    forged = Restoration.of(other, [protected], [(0, 0, other.shape[1], other.shape[0])]).pack()
    sealed = seal(forged, Binding("bank", made, "restoration"), None, passwords.lock(PASSWORD))
    service.keys.objects[f"bank/restoration/{made}"] = sealed
    assert service.restored(headers, photo_id)["problem"]["code"] == "restore_denied"


@pytest.mark.parametrize("custody", list(Custody))
def test_custody_and_lock_go_together(service: Service, custody: Custody) -> None:
    lock = passwords.lock(PASSWORD) if custody is Custody.SERVER else None
    with pytest.raises(ValueError, match="a lock"):
        service.parts.shelf.put_restoration("bank", "pho_1", b"pixels", lock, custody)
