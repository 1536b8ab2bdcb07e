"""Who calls: an API key with scopes. The tenant comes from the credential and from nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from api.parts import Parts, parts
from core.errors import AccessDenied

bearer = HTTPBearer(auto_error=False, description="API key: sdr_...; beside X-API-Key a restore's JWT")
header = APIKeyHeader(name="X-API-Key", auto_error=False, description="API key, where Authorization has a JWT")


@dataclass(frozen=True, slots=True)
class Caller:
    """The tenant behind a request and what the key may do."""

    tenant: str
    key_id: str
    scopes: frozenset[str]

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


def caller(
    found: Annotated[Parts, Depends(parts)],
    token: Annotated[HTTPAuthorizationCredentials | None, Security(bearer)],
    key: Annotated[str | None, Security(header)],
) -> Caller:
    """Dependency: the caller (AccessDenied without a good key)."""
    row = found.keys.verify(key or (token.credentials if token else ""))
    return Caller(row.tenant, row.id, frozenset(row.scopes.split()))


def needs(*scopes: str) -> Callable[[Caller], Caller]:
    """Dependency: a caller whose key has one of these scopes (AccessDenied)."""

    def check(who: Annotated[Caller, Depends(caller)]) -> Caller:
        who.needs(*scopes)
        return who

    return check
