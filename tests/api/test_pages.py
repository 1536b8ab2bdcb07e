"""The pages without a browser: there and back, escaping, scopes, what operations may see."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import SecretStr

from api.guard import Guard
from core import methods
from core.jobs.states import State
from core.vault.shelf import Shelf
from tests.api.conftest import PASSWORD, PHOTO, Service


def protect(service: Service, headers: dict[str, str], **form: Any) -> Any:
    files = {"photo": ("me.png", PHOTO.to_png(), "image/png")}
    return service.client.post("/try/protect", data={"password": PASSWORD, **form}, files=files, headers=headers)


def newest(service: Service) -> Any:
    return service.parts.jobs.page(None, None, 1)[0]


def test_there_and_back(service: Service) -> None:
    headers = service.sign_in("protect", "restore")
    accepted = protect(service, headers)
    job = newest(service)
    assert accepted.headers["hx-push-url"] == f"/try/jobs/{job.id}"
    assert f'data-events="/jobs/{job.id}/events"' in accepted.text
    service.work()
    result = service.client.get(f"/try/jobs/{job.id}", headers=headers).text
    [picture] = re.findall(r'src="(/try/photos/[^"]+)"', result)
    shown = service.client.get(picture)
    assert (shown.headers["content-type"], shown.headers["cache-control"]) == ("image/png", "no-store")
    assert shown.content == service.parts.shelf.get_protected(
        "bank", service.parts.photos.get(job.photo_id, "bank").made, 1
    )

    form = {"photo_id": job.photo_id, "password": PASSWORD, "reason": "dispute 1"}
    service.client.post("/try/restore", data=form, headers=headers)
    back = newest(service)
    address = f"/try/jobs/{back.id}/original"
    assert service.client.post(address, headers=headers).status_code == 409  # not yet
    service.work()
    assert "bit for bit" in service.client.get(f"/try/jobs/{back.id}", headers=headers).text
    answer = service.client.post(address, headers=headers)
    assert (service.stored(f"memory:bank/restored/{back.id}.png") == PHOTO.pixels).all()
    assert answer.content == service.photos.objects[f"bank/restored/{back.id}.png"]
    assert service.client.post(address, headers=headers).json()["code"] == "given"
    assert "link" in {entry.event for entry in service.parts.audit.latest(9, subject=job.photo_id)}

    assert "Erased" in service.client.delete(f"/try/photos/{job.photo_id}", headers=headers).text
    assert service.client.get(picture).status_code == 404
    assert service.client.get(f"/try/jobs/{job.id}", headers=headers).status_code == 404
    restored = service.client.get(f"/try/jobs/{back.id}", headers=headers).text
    assert "The photo was erased" in restored
    assert "bit for bit" not in restored


def test_an_original_is_for_one_request_by_who_may_restore(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    headers, photo_id = service.protected()
    form = {"photo_id": photo_id, "password": PASSWORD, "reason": "dispute 1"}
    job_id = service.client.post("/restore", headers=headers, data=form).json()["job_id"]
    service.work()
    address = f"/try/jobs/{job_id}/original"
    assert service.client.post(address, headers=service.key("protect")).status_code == 403
    get = Shelf.get_restored

    def of_two_at_once(self: Shelf, *asked: str) -> bytes:
        monkeypatch.setattr(Shelf, "get_restored", get)
        assert service.client.post(address, headers=headers).status_code == 200
        return get(self, *asked)

    monkeypatch.setattr(Shelf, "get_restored", of_two_at_once)
    assert service.client.post(address, headers=headers).json()["code"] == "given"


def test_a_picture_leads_to_its_photo_or_to_a_choice_of_them(service: Service) -> None:
    headers = service.sign_in("protect", "restore")

    def find() -> Any:
        photo = service.parts.photos.get(newest(service).photo_id, "bank")
        png = service.parts.shelf.get_protected("bank", photo.made, 1)
        return service.client.post("/try/find", files={"photo": ("a.png", png)}, headers=headers)

    protect(service, headers, seed=1)
    service.work()
    first = newest(service)
    assert find().headers["hx-push-url"] == f"/try/jobs/{first.id}"
    protect(service, headers, seed=1, password="another horse battery")
    service.work()
    answer = find()
    assert re.findall(r'href="/try/jobs/(\w+)"', answer.text) == [first.id, newest(service).id]
    assert "hx-push-url" not in answer.headers


def test_a_store_that_is_away_does_not_use_the_original_up(service: Service) -> None:
    headers = service.sign_in("protect", "restore")
    protect(service, headers)
    service.work()
    form = {"photo_id": newest(service).photo_id, "password": PASSWORD, "reason": "dispute 1"}
    service.client.post("/try/restore", data=form, headers=headers)
    service.work()
    address = f"/try/jobs/{newest(service).id}/original"
    service.photos.down = True
    assert service.client.post(address, headers=headers).status_code == 503
    service.photos.down = False
    assert service.client.post(address, headers=headers).status_code == 200


def test_a_failure_is_told_in_the_words_of_the_api(service: Service) -> None:
    headers = service.sign_in("protect", "restore")
    assert protect(service, headers, password="short").json()["code"] == "request_invalid"
    protect(service, headers)
    service.work()
    form = {"photo_id": newest(service).photo_id, "password": "wrong horse battery", "reason": "dispute 1"}
    service.client.post("/try/restore", data=form, headers=headers)
    service.work()
    shown = service.client.get(f"/try/jobs/{newest(service).id}", headers=headers).text
    assert "restore_denied" in shown
    assert 'role="alert"' in shown


def test_a_lost_answer_is_given_again_to_the_same_key_only(service: Service) -> None:
    headers = service.sign_in("protect") | {"Idempotency-Key": "one"}
    first = protect(service, headers, password="")
    again = protect(service, headers, password="")
    [code] = re.findall(r'class="big">([\w-]+)<', first.text)
    assert code in again.text
    assert len(service.broker.messages) == 1
    # Another session's pages, another key, the same text: nothing in common.
    other = service.sign_in("protect") | {"Idempotency-Key": "one"}
    assert code not in protect(service, other, password="").text
    assert len(service.broker.messages) == 2


def test_who_waits_gets_the_code_too(service: Service) -> None:
    headers = service.sign_in("protect") | {"Idempotency-Key": "one"}
    [code] = re.findall(r'class="big">([\w-]+)<', protect(service, headers, password="").text)
    service.work()
    ended = protect(service, headers | {"Prefer": "wait=5"}, password="")
    assert ended.status_code == 200
    assert code in ended.text
    assert f"/try/photos/{newest(service).photo_id}/v1.png" in ended.text


def test_what_strangers_write_is_text(service: Service) -> None:
    headers = service.sign_in("protect", "ops")
    protect(service, headers)
    job = service.parts.jobs.claim(newest(service).id, 60)
    assert job
    service.parts.jobs.fail(job.id, 1, {"code": "<i>", "message": "<script>alert(1)</script>", "details": {}})
    for address in (f"/try/jobs/{job.id}", "/ops", f"/ops/jobs/{job.id}", "/ops/jobs"):
        shown = service.client.get(address).text
        assert "&lt;i&gt;" in shown
        assert "<script>alert" not in shown
        assert "<i>" not in shown


def test_pages_keep_to_their_own_origin_and_are_not_kept(service: Service) -> None:
    service.sign_in("protect", "ops")
    for address in ("/", "/ops", "/sign-in", "/try/jobs/job_none"):
        answer = service.client.get(address)
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
        assert not re.search(r'\sstyle=|\son\w+="|<style|<script>|https?://(?!www\.w3\.org)', answer.text)


def test_scopes_decide_what_a_page_offers(service: Service) -> None:
    service.sign_in("ops")
    assert service.client.get("/", follow_redirects=False).headers["location"] == "/ops"
    assert service.client.get("/try/jobs/job_1").status_code == 403
    service.sign_in("protect")
    assert service.client.get("/ops").status_code == 403
    assert "this key lacks the scope ops" in service.client.get("/ops").text
    assert "Operations" not in service.client.get("/").text
    headers = service.sign_in("restore")
    assert protect(service, headers).json()["code"] == "forbidden"
    assert 'id="protect"' not in service.client.get("/").text


def test_the_form_offers_what_the_register_and_the_settings_say(service: Service) -> None:
    service.change(max_variants=3)
    headers = service.sign_in("protect")
    form = service.client.get("/").text
    assert re.findall(r"<option>(\d)</option>", form) == ["1", "2", "3"]
    for name in methods.names():
        shown = service.client.get(f"/try/presets?method={name}", headers=headers).text
        assert re.findall(r"<option(?: selected)?>(\w+)<", shown) == methods.presets(name)
        assert set(re.findall(r'<select id="(\w+)"', shown)) == methods.options(name) & {"presentation", "age"}
    for chosen, kept in (("natural", "natural"), ("no such", "standard")):
        shown = service.client.get(f"/try/presets?method=cloak&preset={chosen}", headers=headers).text
        assert re.findall(r"<option selected>(\w+)<", shown) == [kept]
    shown = service.client.get("/try/presets?method=id2face&presentation=any&age=old", headers=headers).text
    assert re.findall(r'<option value="(\w+)" selected>', shown) == ["any", "old"]
    assert service.client.get("/try/presets?method=../x", headers=headers).json()["code"] == "method_unknown"


def test_other_tenants_find_nothing(service: Service) -> None:
    headers = service.sign_in("protect", "restore")
    protect(service, headers)
    service.work()
    job = newest(service)
    stranger = service.sign_in("protect", "restore", tenant="rival")
    for answer in (
        service.client.get(f"/try/jobs/{job.id}", headers=stranger),
        service.client.get(f"/try/photos/{job.photo_id}/v1.png"),
        service.client.delete(f"/try/photos/{job.photo_id}", headers=stranger),
        service.client.post(f"/try/jobs/{job.id}/original", headers=stranger),
    ):
        assert answer.status_code == 404


def test_operations_show_no_face_and_nobody(service: Service) -> None:
    headers = service.sign_in("protect", "restore")
    protect(service, headers)
    service.work()
    job = newest(service)
    form = {"photo_id": job.photo_id, "password": PASSWORD, "reason": "dispute 1"}
    service.client.post("/try/restore", data=form, headers=headers)
    service.work()
    back = newest(service)
    # Even a key that could: to look at a job must not use up its original.
    service.sign_in("protect", "restore", "ops")
    for address in ("/ops", "/ops/now", "/ops/jobs", f"/ops/jobs/{job.id}", f"/ops/jobs/{back.id}"):
        shown = service.client.get(address).text
        assert job.id in shown or back.id in shown or address == "/ops/now"
        for secret in (job.photo_id, "dispute 1", "memory:", "/try/photos", "bank"):
            assert secret not in shown
    assert service.parts.jobs.get(back.id).link_given_at is None


def test_jobs_are_filtered_and_paged(service: Service) -> None:
    service.change(max_queue=99)
    headers = service.sign_in("protect")
    for _ in range(27):
        protect(service, headers, custody="server", password="")
    service.parts.jobs.cancel(newest(service).id)
    service.sign_in("ops")

    def ids(query: str = "") -> list[str]:
        return re.findall(r'id="j-(job_\w+)"', service.client.get(f"/ops/jobs?{query}").text)

    assert len(ids()) == 25
    [older] = re.findall(r'cursor=(job_\w+)"', service.client.get("/ops/jobs?cursor=").text)
    assert len(set(ids() + ids(f"cursor={older}"))) == 27
    assert ids(f"state={State.cancelled}&kind=protect") == [newest(service).id]
    assert ids("kind=restore") == []
    assert service.client.get("/ops/jobs?tenant=bank").status_code == 403
    service.sign_in("ops", "admin")
    assert ids("tenant=rival") == []
    assert len(ids("tenant=bank")) == 25
    for nonsense in ("tenant=%00", "tenant=Bank!"):
        assert service.client.get(f"/ops/jobs?{nonsense}").status_code == 422
    assert service.client.get("/ops/jobs?cursor=%00").status_code == 404


def test_parts_that_are_away_are_told(service: Service) -> None:
    service.sign_in("ops")
    service.broker.down = True
    shown = service.client.get("/ops/health").text
    assert "broker unavailable" in shown
    assert shown.count("dot good") == 3


def test_a_restore_that_needs_a_token_needs_it_here_too(service: Service) -> None:
    headers = service.sign_in("protect", "restore")
    protect(service, headers)
    service.work()
    job = newest(service)
    secret = {"jwt_secret": SecretStr("s" * 32), "jwt_issuer": "https://id.example", "jwt_audience": "sider"}
    app: Any = service.client.app
    app.state.guard = Guard.of(service.parts.settings.model_copy(update=secret))
    assert 'name="token"' in service.client.get(f"/try/jobs/{job.id}", headers=headers).text
    form = {"photo_id": job.photo_id, "password": PASSWORD, "reason": "dispute 1"}
    assert service.client.post("/try/restore", data=form, headers=headers).json()["code"] == "token_missing"
    bad = headers | {"Authorization": "Bearer x.y.z"}
    assert service.client.post("/try/restore", data=form, headers=bad).json()["code"] == "token_invalid"
