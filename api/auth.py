"""Who calls: an API key with scopes. The tenant comes from the credential and from nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from starlette.concurrency import run_in_threadpool

from api.parts import parts
from core.errors import AccessDenied

bearer = HTTPBearer(auto_error=False, description="API key: sdr_...")
header = APIKeyHeader(name="X-API-Key", auto_error=False, description="the same key, for simple clients")


@dataclass(frozen=True, slots=True)
class Caller:
    """The tenant behind a request and what the key may do."""

    tenant: str
    key_id: str
    scopes: frozenset[str]

    def may(self, *scopes: str) -> bool:
        """Whether the key has one of these scopes."""
        return not self.scopes.isdisjoint(scopes)


def credential(
    token: Annotated[HTTPAuthorizationCredentials | None, Security(bearer)],
    key: Annotated[str | None, Security(header)],
) -> str:
    """Dependency: the text of the API key, empty without one."""
    return token.credentials if token else key or ""


async def authenticate(request: Request) -> Caller:
    """The caller (AccessDenied without a good key), kept with the request."""
    text = credential(await bearer(request), await header(request))
    row = await run_in_threadpool(parts(request).keys.verify, text)
    who = Caller(row.tenant, row.id, frozenset(row.scopes.split()))
    request.state.caller = who
    return who


def caller(request: Request, _: Annotated[str, Depends(credential)]) -> Caller:
    """Dependency: the caller, authenticated before the body was read (api/limits.py)."""
    found: Caller = request.state.caller
    return found


def needs(*scopes: str) -> Callable[[Caller], Caller]:
    """Dependency: a caller whose key has one of these scopes (AccessDenied)."""

    def check(who: Annotated[Caller, Depends(caller)]) -> Caller:
        if not who.may(*scopes):
            raise AccessDenied(f"this key lacks the scope {' or '.join(scopes)}", code="forbidden")
        return who

    return check
