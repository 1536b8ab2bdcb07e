"""A browser's session: whose it is, when it ends, and that other sites cannot use it."""

from __future__ import annotations

import pytest

from api import session
from tests.api.conftest import OWN, Service


def test_a_session_keeps_the_key_from_everybody(service: Service) -> None:
    _, key = service.parts.keys.issue("bank", ("protect",))
    answer = service.client.post("/sign-in", data={"key": f" {key}\n"}, headers=OWN, follow_redirects=False)
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert key not in cookie
    assert "Try it" in service.client.get("/").text
    over_tls = service.client.post(
        "/sign-in", data={"key": key}, headers={"Origin": "https://testserver"}, follow_redirects=False
    )
    assert "Secure" in over_tls.headers["set-cookie"]


def test_a_session_ends_with_its_key_its_time_and_at_will(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def signed_in() -> bool:
        return service.client.get("/", follow_redirects=False).status_code == 200

    service.sign_in("protect")
    assert signed_in()
    service.parts.keys.revoke(service.parts.keys.all()[-1].id)
    assert not signed_in()
    headers = service.sign_in("protect")
    assert service.client.post("/sign-out", headers=headers).headers["hx-redirect"] == "/sign-in"
    assert not signed_in()
    service.sign_in("protect")
    later = session.now() + session.LIFE
    monkeypatch.setattr(session, "now", lambda: later)
    assert not signed_in()


@pytest.mark.parametrize("cookie", ["", "x", "AAAA", "U0RSVgE="])
def test_a_cookie_of_nobody_is_no_session(service: Service, cookie: str) -> None:
    service.client.cookies.set(session.COOKIE, cookie)
    answer = service.client.get("/", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
    assert service.client.get("/photos/pho_1").json()["code"] == "unauthenticated"


def test_a_wrong_key_is_told_and_never_shown(service: Service) -> None:
    answer = service.client.post("/sign-in", data={"key": "sdr_<b>wrong"}, headers=OWN)
    assert answer.status_code == 401
    assert "the API key is missing, unknown, revoked or expired" in answer.text
    assert "wrong" not in answer.text
    assert session.COOKIE not in service.client.cookies
    assert service.client.post("/sign-in", data={"key": "x" * 5000}, headers=OWN).json()["status"] == 413


def test_other_sites_can_neither_sign_in_nor_act(service: Service) -> None:
    _, key = service.parts.keys.issue("bank", ("protect",))
    evil: list[dict[str, str]] = [
        {}, {"Origin": "https://evil.example"}, {**OWN, "Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://["}, {"Origin": "null"}, {"Host": ""},
    ]  # fmt: skip
    for headers in evil:
        assert service.client.post("/sign-in", data={"key": key}, headers=headers).status_code == 403
    headers = service.sign_in("protect", "restore")
    for wrong in (
        {**headers, session.CSRF_HEADER: "0" * 64},
        {name: value for name, value in headers.items() if name != session.CSRF_HEADER},
        {**headers, "Sec-Fetch-Site": "same-site"},
        {**headers, "Origin": "http://evil.example"},
    ):
        for answer in (
            service.client.post("/try/protect", headers=wrong),
            service.client.post("/protect", headers=wrong),
            service.client.delete("/photos/pho_1", headers=wrong),
            service.client.post("/sign-out", headers=wrong),
        ):
            assert (answer.status_code, answer.json()["code"]) == (403, "csrf_failed")
    assert not service.broker.messages
    # A key in a header speaks for itself: no browser sends it unasked.
    assert service.upload(service.key("protect")).status_code == 202
