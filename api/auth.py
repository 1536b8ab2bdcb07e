"""Who calls: an API key with scopes. The tenant comes from the credential and from nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from fastapi.security.utils import get_authorization_scheme_param
from starlette.concurrency import run_in_threadpool

from api import session
from api.parts import parts
from core.errors import AccessDenied
from core.jobs.keys import PREFIX

bearer = HTTPBearer(auto_error=False, description="API key: sdr_...; beside X-API-Key a restore's JWT")
header = APIKeyHeader(name="X-API-Key", auto_error=False, description="API key, where Authorization has a JWT")


@dataclass(frozen=True, slots=True)
class Caller:
    """The tenant behind a request and what the key may do. subject: who a second credential says it is."""

    tenant: str
    key_id: str
    scopes: frozenset[str]
    subject: str | None = None

    @property
    def actor(self) -> str:
        """As the audit log names it."""
        return f"key:{self.key_id}"

    def may(self, *scopes: str) -> bool:
        """Whether the key has one of these scopes."""
        return not self.scopes.isdisjoint(scopes)

    def needs(self, *scopes: str) -> None:
        """Insist on one of these scopes (AccessDenied)."""
        if not self.may(*scopes):
            raise AccessDenied(f"this key lacks the scope {' or '.join(scopes)}", code="forbidden")


def credential(
    request: Request,
    token: Annotated[HTTPAuthorizationCredentials | None, Security(bearer)],
    key: Annotated[str | None, Security(header)],
) -> str:
    """Dependency: the text of the API key, empty without one; see `beside_the_key`."""
    if in_session(request):
        return session.key_of(request)
    return key or (token.credentials if token else "")


def in_session(request: Request) -> bool:
    """Whether a signed-in browser's page asks. Keys in a header come before the cookie, which is sent unasked."""
    text = request.headers.get("authorization", "")
    return session.COOKIE in request.cookies and "x-api-key" not in request.headers and f" {PREFIX}" not in text


def beside_the_key(request: Request) -> str | None:
    """The JWT that Authorization has where the API key is somewhere else: in X-API-Key or in a session."""
    scheme, token = get_authorization_scheme_param(request.headers.get("authorization"))
    apart = "x-api-key" in request.headers or in_session(request)
    return token if apart and scheme.lower() == "bearer" else None


async def authenticate(request: Request) -> Caller:
    """The caller.

    Raises:
        AccessDenied: no good key, or another site's page speaks for a signed-in browser.
    """
    # In a thread, because the keyring, if its file has changed, may have to be decrypted by KMS.
    text = await run_in_threadpool(credential, request, await bearer(request), await header(request))
    if in_session(request):
        session.check_csrf(request)
    row = await run_in_threadpool(parts(request).keys.verify, text)
    return Caller(row.tenant, row.id, frozenset(row.scopes.split()))


def caller(request: Request, _: Annotated[str, Depends(credential)]) -> Caller:
    """Dependency: the caller, admitted before the body was read (api/admission.py)."""
    found: Caller = request.state.caller
    return found


def needs(*scopes: str) -> Callable[[Caller], Caller]:
    """Dependency: a caller whose key has one of these scopes (AccessDenied)."""

    def check(who: Annotated[Caller, Depends(caller)]) -> Caller:
        who.needs(*scopes)
        return who

    return check
