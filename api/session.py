"""A browser's session: a cookie with the API key, sealed by the keyring and out of reach of the page's scripts.

It is opened for every request and the key in it verified like any other, so that every API process knows every
session, and a key that is revoked or expires ends its sessions at once.

A browser sends cookies with requests that other sites make it send. So whatever changes something must also bring a
token in a header, a keyed digest of the cookie, which only our own pages have; and, like signing in, it must come from
our own origin.
"""

from __future__ import annotations

import base64
import hmac
import json
from datetime import datetime, timedelta

from fastapi import Request, Response

from api.parts import parts
from core.errors import AccessDenied, RestoreDenied
from core.jobs.database import now
from core.vault.envelope import Binding, open_sealed, seal
from core.vault.keyring import Keyring

COOKIE, CSRF_HEADER = "sider_session", "X-CSRF-Token"
LIFE = timedelta(hours=8)
BINDING = Binding("", "", "session")
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


def start(response: Response, request: Request, key: str, keyring: Keyring) -> None:
    """Sign a browser in with the text of an API key."""
    content = json.dumps([key, (now() + LIFE).isoformat()]).encode()
    value = base64.urlsafe_b64encode(seal(content, BINDING, keyring.latest())).decode()
    # The browser tells how it reached us; behind a proxy this process sees plain HTTP.
    secure = request.url.scheme == "https" or request.headers.get("origin", "").startswith("https:")
    response.set_cookie(
        COOKIE, value, max_age=int(LIFE.total_seconds()), httponly=True, samesite="strict", secure=secure
    )


def end(response: Response) -> None:
    """Sign out."""
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")


def key_of(request: Request) -> str:
    """The text of the API key in the request's cookie; empty without a session."""
    try:
        sealed = base64.urlsafe_b64decode(request.cookies[COOKIE])
        key, until = json.loads(open_sealed(sealed, BINDING, parts(request).shelf.keyring.latest()))
    except (KeyError, ValueError, RestoreDenied):
        return ""
    return str(key) if now() < datetime.fromisoformat(until) else ""


def csrf_token(request: Request) -> str:
    """What the pages of this session prove themselves with."""
    return hmac.digest(request.cookies.get(COOKIE, "").encode(), b"sider csrf 1", "sha256").hex()


def check_csrf(request: Request) -> None:
    """Refuse to change anything for another site's page (AccessDenied)."""
    if request.method in SAFE_METHODS:
        return
    given = request.headers.get(CSRF_HEADER, "")
    if not hmac.compare_digest(given.encode(), csrf_token(request).encode()):
        raise AccessDenied("this page is out of date; load it again", code="csrf_failed")
    check_origin(request)


def check_origin(request: Request) -> None:
    """Refuse requests that a page of another origin made (AccessDenied)."""
    site = request.headers.get("sec-fetch-site")
    # Over plain HTTP browsers tell the origin only.
    own = request.headers.get("origin", "").partition("://")[1:] == ("://", request.headers.get("host"))
    if site != "same-origin" if site else not own:
        raise AccessDenied("this request was made by another site", code="csrf_failed")
