"""What a restore needs besides an API key: a JWT with scope `restore`, or a client certificate behind a proxy.

Off unless configured. A stolen API key then opens nothing: the second credential comes from somebody else, the
operator's identity provider or certificate authority, names a person or service, and soon expires.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Protocol

import jwt
from fastapi import Request
from jwt import PyJWK, PyJWKClient, PyJWKSet
from jwt.exceptions import (
    ExpiredSignatureError,
    ImmatureSignatureError,
    InvalidAudienceError,
    InvalidIssuerError,
    MissingRequiredClaimError,
    PyJWKClientConnectionError,
    PyJWTError,
)
from jwt.types import Options

from api.auth import Caller, beside_the_key
from core.errors import AccessDenied, ConfigurationError, Unavailable
from core.settings import Settings

SCOPE = "restore"
# Never the token's own choice, and never both kinds: a public key must not serve as the secret of an HMAC.
PUBLIC_KEY_ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
SECRET_ALGORITHMS: tuple[str, ...] = ("HS256",)
MIN_SECRET, MAX_TOKEN, MAX_SUBJECT = 32, 8192, 200  # bytes, characters, characters
REASONS: dict[type[PyJWTError], str] = {
    ExpiredSignatureError: "it has expired",
    ImmatureSignatureError: "it is not valid yet",
    InvalidAudienceError: "it is for another audience",
    InvalidIssuerError: "it is by another issuer",
    MissingRequiredClaimError: "it lacks exp, iss, aud or sub",
}


class Keys(Protocol):
    """Public keys by their `kid`; PyJWTError if there is none. PyJWKClient is one, over HTTP and with a cache."""

    def get_signing_key(self, kid: str) -> PyJWK: ...


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A JWKS in a file, read for every restore: they are rare, and a replaced file counts at once."""

    path: Path

    def read(self) -> PyJWKSet:
        """All of them.

        Raises:
            ConfigurationError: missing or broken.
        """
        try:
            return PyJWKSet.from_dict(json.loads(self.path.read_text(encoding="utf-8")))
        except (OSError, ValueError, AttributeError, PyJWTError) as error:
            raise ConfigurationError(f"the JWKS {self.path} cannot be read: {type(error).__name__}") from None

    def get_signing_key(self, kid: str) -> PyJWK:
        return self.read()[kid]


@dataclass(frozen=True, slots=True)
class Tokens:
    """Checks JWTs of one issuer for one audience. `key` is a shared secret, or public keys by `kid`."""

    issuer: str
    audience: str
    key: str | Keys = field(repr=False)
    leeway: int
    tenant_claim: str | None

    def check(self, token: str, tenant: str) -> str:
        """The subject of a good token.

        Raises:
            AccessDenied: token_invalid, insufficient_scope.
            Unavailable: the issuer's keys cannot be had.
        """
        try:
            claims = self._claims(token)
        except PyJWKClientConnectionError as error:
            raise Unavailable("the keys of the token's issuer cannot be had", code="issuer_unavailable") from error
        except (PyJWTError, KeyError, ValueError) as error:
            # Why, but without the token's own words.
            reason = REASONS.get(type(error), "it is malformed, or not signed by a known key")  # type: ignore[arg-type]
            raise AccessDenied(f"the token is not accepted: {reason}", code="token_invalid") from None
        if self.tenant_claim and claims.get(self.tenant_claim) != tenant:
            raise AccessDenied("the token is not accepted: it is for another tenant", code="token_invalid")
        scope = claims.get("scope")
        scopes = scope.split() if isinstance(scope, str) else scope
        if not isinstance(scopes, list) or SCOPE not in scopes:
            raise AccessDenied(f"the token lacks the scope {SCOPE}", code="insufficient_scope")
        subject = str(claims["sub"])[:MAX_SUBJECT]
        if "\0" in subject:  # which PostgreSQL keeps and then cannot read
            raise AccessDenied("the token is not accepted: it is malformed", code="token_invalid")
        return subject

    def _claims(self, token: str) -> dict[str, Any]:
        if len(token) > MAX_TOKEN:
            raise ValueError("too long")
        key: str | PyJWK
        if isinstance(self.key, str):
            key, algorithms = self.key, SECRET_ALGORITHMS
        else:
            key, algorithms = self.key.get_signing_key(jwt.get_unverified_header(token)["kid"]), PUBLIC_KEY_ALGORITHMS
        return jwt.decode(
            token, key, algorithms, Options(require=["exp", "iss", "aud", "sub"]),
            audience=self.audience, issuer=self.issuer, leeway=self.leeway,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Guard:
    """Admits a restore by token or by certificate, whichever is configured; by nothing more if neither is."""

    tokens: Tokens | None
    settings: Settings

    @classmethod
    def of(cls, settings: Settings) -> Guard:
        """The guard of an environment.

        Raises:
            ConfigurationError: the settings do not go together.
        """
        if bool(settings.mtls_proxies) != bool(settings.mtls_certificates):
            raise ConfigurationError("set both SIDER_MTLS_PROXIES and SIDER_MTLS_CERTIFICATES, or neither")
        return cls(_tokens(settings), settings)

    def admit(self, who: Caller, token: str | None, certificate: bytes | None) -> str | None:
        """Who restores, as token or certificate name him; None where neither is asked for.

        Raises:
            AccessDenied: token_missing, token_invalid, insufficient_scope, certificate_unknown.
            Unavailable: the issuer's keys cannot be had.
        """
        if self.tokens and token:
            return self.tokens.check(token, who.tenant)
        if certificate is not None:
            fingerprint = hashlib.sha256(certificate).hexdigest()
            # As `openssl x509 -fingerprint` prints them, or plain.
            if fingerprint not in (known.replace(":", "").lower() for known in self.settings.mtls_certificates):
                raise AccessDenied("this client certificate may not restore", code="certificate_unknown")
            return f"certificate {fingerprint[:16]}"
        if self.tokens or self.settings.mtls_proxies:
            raise AccessDenied("a restore needs more than an API key: see the documentation", code="token_missing")
        return None


def subject_of(request: Request, who: Caller) -> str | None:
    """Who asks for a restore, as told by what the request brings besides its API key; see Guard.admit."""
    guard: Guard = request.app.state.guard
    # The header of RFC 9440 is worth what its sender is: anybody can write one, only the proxy has checked it.
    trusted = request.client is not None and _is_proxy(request.client.host, guard.settings)
    client_cert = request.headers.get("client-cert")
    certificate = _certificate(client_cert) if client_cert and trusted else None
    return guard.admit(who, beside_the_key(request), certificate)


def _tokens(settings: Settings) -> Tokens | None:
    secret = settings.jwt_secret.get_secret_value() if settings.jwt_secret else ""
    if not secret and not settings.jwt_jwks:
        # An empty secret, or all but the key: whoever says so much wants tokens, and would have a service without.
        said = (settings.jwt_secret, settings.jwt_jwks, settings.jwt_issuer, settings.jwt_audience)
        if any(value is not None for value in (*said, settings.jwt_tenant_claim)):
            raise ConfigurationError("tokens need SIDER_JWT_JWKS or SIDER_JWT_SECRET, too; neither has a value")
        return None
    if secret and settings.jwt_jwks:
        raise ConfigurationError("set SIDER_JWT_JWKS or SIDER_JWT_SECRET, not both")
    if not settings.jwt_issuer or not settings.jwt_audience:
        raise ConfigurationError("tokens need SIDER_JWT_ISSUER and SIDER_JWT_AUDIENCE, too")
    if secret and len(secret.encode()) < MIN_SECRET:
        raise ConfigurationError(f"SIDER_JWT_SECRET has fewer than {MIN_SECRET} bytes")
    key = secret or _keys(settings.jwt_jwks or "")
    return Tokens(
        settings.jwt_issuer, settings.jwt_audience, key, settings.jwt_leeway_seconds, settings.jwt_tenant_claim
    )


def _keys(where: str) -> Keys:
    if where.startswith("https://"):
        return PyJWKClient(where, timeout=5)
    if "://" in where:
        raise ConfigurationError("SIDER_JWT_JWKS is an https address or a file: who can alter the keys can restore")
    file = KeyFile(Path(where))
    file.read()  # a service that could restore nothing should say so when it starts
    return file


def _is_proxy(host: str, settings: Settings) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in settings.mtls_proxies)


def _certificate(text: str) -> bytes:
    """DER from a structured field's byte sequence; nothing that matches if it is none."""
    try:
        return base64.b64decode(text.strip().removeprefix(":").removesuffix(":"), validate=True)
    except ValueError:
        return b""
