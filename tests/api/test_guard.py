"""A restore may need a token or a client certificate besides the API key."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm
from pydantic import SecretStr

from api.guard import Guard, Tokens
from core.errors import AccessDenied, ConfigurationError, Unavailable
from core.settings import Settings
from tests.api.conftest import PASSWORD, Service

KEY, OTHER = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
SECRET = "a shared secret of more than 32 bytes"
CERTIFICATE = b"the DER of a client certificate"
FINGERPRINT = hashlib.sha256(CERTIFICATE).hexdigest()
PROXIED = {"Client-Cert": f":{base64.b64encode(CERTIFICATE).decode()}:"}


def jwks(**keys: ec.EllipticCurvePrivateKey) -> str:
    rows = [json.loads(ECAlgorithm.to_jwk(key.public_key())) | {"kid": kid, "use": "sig"} for kid, key in keys.items()]
    return json.dumps({"keys": rows})


def token(key: Any = KEY, algorithm: str = "ES256", kid: str | None = "k1", **changes: Any) -> str:
    """Good for an hour: the tests' parameters are made long before some of the tests run."""
    end = int(time.time()) + 3600
    claims = {"iss": "https://id.bank", "aud": "sider", "sub": "clerk 7", "scope": "openid restore", "exp": end}
    claims = {name: value for name, value in (claims | changes).items() if value is not None}
    return jwt.encode(claims, key, algorithm, {"kid": kid} if kid else None)


def confused() -> str:
    """The public key's text, taken for the secret of an HMAC."""
    text = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head, body, _ = token().split(".")
    head = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "kid": "k1"}).encode()).rstrip(b"=").decode()
    signature = hmac.digest(text, f"{head}.{body}".encode(), "sha256")
    return f"{head}.{body}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


@pytest.fixture
def ask(service: Service, tmp_path: Path) -> Callable[..., Any]:
    """POST /restore with a good API key and a bearer token, under the given settings."""
    (tmp_path / "jwks.json").write_text(jwks(k1=KEY))
    headers, photo_id = service.protected()
    usual = {"jwt_jwks": str(tmp_path / "jwks.json"), "jwt_issuer": "https://id.bank", "jwt_audience": "sider"}
    form = {"photo_id": photo_id, "password": PASSWORD, "reason": "dispute 1"}

    def post(bearer: str | None, settings: dict[str, Any] | None = None, **more: str) -> Any:
        changed = service.parts.settings.model_copy(update=usual if settings is None else settings)
        service.client.app.state.guard = Guard.of(changed)  # type: ignore[attr-defined]
        sent = {"X-API-Key": headers["Authorization"].removeprefix("Bearer "), **more}
        if bearer is not None:
            sent["Authorization"] = f"Bearer {bearer}"
        return service.client.post("/restore", headers=sent, data=form)

    return post


def test_a_good_token_restores_and_its_subject_is_told(service: Service, ask: Callable[..., Any]) -> None:
    assert ask(token()).status_code == 202
    service.work()
    told = [(e.outcome, e.details["subject"]) for e in service.parts.audit.latest(9) if e.event == "restore"]
    assert told == [("accepted", "clerk 7"), ("succeeded", "clerk 7")]


@pytest.mark.parametrize("claims", [{"scope": ["read", "restore"]}, {"aud": ["other", "sider"]}], ids=["scope", "aud"])
def test_lists_in_tokens(ask: Callable[..., Any], claims: dict[str, list[str]]) -> None:
    assert ask(token(**claims)).status_code == 202


def test_a_clock_may_be_a_little_behind(ask: Callable[..., Any]) -> None:
    assert ask(token(exp=int(time.time()) - 5)).status_code == 202


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (token(exp=int(time.time()) - 600), "expired"),
        (token(nbf=int(time.time()) + 600), "not valid yet"),
        (token(iss="https://id.evil"), "another issuer"),
        (token(aud="mail"), "another audience"),
        (token(exp=None), "lacks exp"),
        (token(sub=None), "lacks exp, iss, aud or sub"),
        (token(sub="clerk\0"), "it is malformed"),
        (token(OTHER), "known key"),
        (token(kid=None), "known key"),
        (token(kid="k2"), "known key"),
        (token(SECRET, "HS256"), "known key"),
        (token(None, "none"), "known key"),
        (confused(), "known key"),
        (token()[:-4], "known key"),
        ("nonsense", "known key"),
        (token(more="x" * 9000), "known key"),
    ],
)
def test_a_bad_token_is_refused_with_the_reason(service: Service, ask: Callable[..., Any], bad: str, why: str) -> None:
    answer = ask(bad)
    assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid")
    assert why in answer.json()["detail"]
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token", scope="restore"'
    [last] = service.parts.audit.latest(1)
    assert (last.event, last.outcome) == ("restore", "token_invalid")


@pytest.mark.parametrize("scope", [None, "", "restored", "protect", ["protect"], 5, {"restore": True}])
def test_a_token_without_the_scope_is_forbidden(ask: Callable[..., Any], scope: Any) -> None:
    answer = ask(token(scope=scope))
    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
    assert answer.headers["www-authenticate"] == 'Bearer error="insufficient_scope", scope="restore"'


def test_no_token(service: Service, ask: Callable[..., Any]) -> None:
    answer = ask(None)
    assert (answer.status_code, answer.json()["code"]) == (401, "token_missing")
    assert answer.headers["www-authenticate"] == 'Bearer scope="restore"'
    assert service.parts.audit.latest(1)[0].outcome == "token_missing"


def test_a_token_is_no_api_key(service: Service, ask: Callable[..., Any]) -> None:
    form = {"photo_id": "pho_" + "0" * 32, "password": PASSWORD, "reason": "dispute 1"}
    answer = service.client.post("/restore", headers={"Authorization": f"Bearer {token()}"}, data=form)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


def test_off_unless_configured(ask: Callable[..., Any]) -> None:
    assert ask(None, {}).status_code == 202
    assert ask(None, {}, **PROXIED).status_code == 202


def test_a_shared_secret_takes_nothing_else(ask: Callable[..., Any]) -> None:
    settings = {"jwt_secret": SecretStr(SECRET), "jwt_issuer": "https://id.bank", "jwt_audience": "sider"}
    assert ask(token(SECRET, "HS256", None), settings).status_code == 202
    for bad in (token(), token(None, "none"), token("another secret of more than 32 bytes", "HS256")):
        assert ask(bad, settings).json()["code"] == "token_invalid"


def test_a_shared_secret_is_not_told() -> None:
    assert SECRET not in repr(Tokens("https://id.bank", "sider", SECRET, 30, None))


def test_a_token_for_another_tenant(ask: Callable[..., Any], tmp_path: Path) -> None:
    settings = {
        "jwt_jwks": str(tmp_path / "jwks.json"), "jwt_issuer": "https://id.bank", "jwt_audience": "sider",
        "jwt_tenant_claim": "org",
    }  # fmt: skip
    assert ask(token(org="bank"), settings).status_code == 202
    for bad in (token(org="rival"), token()):
        assert ask(bad, settings).json()["code"] == "token_invalid"


def test_a_replaced_key_file_counts_at_once(ask: Callable[..., Any], tmp_path: Path) -> None:
    assert ask(token(OTHER, kid="k2")).status_code == 401
    (tmp_path / "jwks.json").write_text(jwks(k2=OTHER))
    assert ask(token(OTHER, kid="k2")).status_code == 202
    assert ask(token()).status_code == 401


MTLS = {"mtls_certificates": (FINGERPRINT.upper(),)}


def networks(*names: str) -> dict[str, Any]:
    return MTLS | {"mtls_proxies": tuple(ip_network(name) for name in names)}


def test_a_proxys_certificate_restores(service: Service, ask: Callable[..., Any]) -> None:
    service.client._transport.client = ("10.1.2.3", 4711)  # type: ignore[attr-defined]
    near, far = networks("10.0.0.0/8", "::1/128"), networks("192.168.0.0/16")
    assert ask(None, near, **PROXIED).status_code == 202
    service.work()
    assert service.parts.audit.latest(1)[0].details["subject"] == f"certificate {FINGERPRINT[:16]}"
    assert ask(None, near).json()["code"] == "token_missing"
    assert ask(None, far, **PROXIED).json()["code"] == "token_missing"  # anybody may write a header
    for other in ("", "::", ":!:", ":AAAA:"):
        answer = ask(None, near, **{"Client-Cert": other or "x"})
        assert (answer.status_code, answer.json()["code"]) == (403, "certificate_unknown")


def test_a_caller_without_an_address_is_no_proxy(service: Service, ask: Callable[..., Any]) -> None:
    assert ask(None, networks("0.0.0.0/0", "::/0"), **PROXIED).json()["code"] == "token_missing"  # "testclient"


@pytest.mark.parametrize(
    "settings",
    [
        {"jwt_jwks": "keys.json"},
        {"jwt_secret": SecretStr(SECRET), "jwt_issuer": "i"},
        {"jwt_issuer": "i", "jwt_audience": "a"},
        {"jwt_secret": SecretStr("")},
        {"jwt_jwks": ""},
        {"jwt_tenant_claim": "org"},
        {"jwt_secret": SecretStr("short"), "jwt_issuer": "i", "jwt_audience": "a"},
        {"jwt_secret": SecretStr(SECRET), "jwt_jwks": "k", "jwt_issuer": "i", "jwt_audience": "a"},
        {"jwt_jwks": "http://id.bank/keys", "jwt_issuer": "i", "jwt_audience": "a"},
        {"jwt_jwks": "/nowhere/keys.json", "jwt_issuer": "i", "jwt_audience": "a"},
        {"mtls_certificates": (FINGERPRINT,)},
        {"mtls_proxies": (ip_network("10.0.0.0/8"),)},
    ],
)
def test_settings_that_do_not_go_together_stop_the_service(service: Service, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Guard.of(service.parts.settings.model_copy(update=settings))


def test_lists_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIDER_MTLS_PROXIES", "10.0.0.0/8, fd00::/8")
    monkeypatch.setenv("SIDER_MTLS_CERTIFICATES", FINGERPRINT)
    settings = Settings()
    assert settings.mtls_proxies == (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    assert settings.mtls_certificates == (FINGERPRINT,)


@pytest.fixture
def issuer() -> Iterator[tuple[ThreadingHTTPServer, list[str]]]:
    """An identity provider's key endpoint, and what was asked of it."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(jwks(k1=KEY).encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server, asked
        server.shutdown()
        thread.join()


def test_keys_are_fetched_once_and_not_for_every_unknown_kid(
    issuer: tuple[ThreadingHTTPServer, list[str]],
) -> None:
    server, asked = issuer
    client = jwt.PyJWKClient(f"http://127.0.0.1:{server.server_port}/keys")
    tokens = Tokens("https://id.bank", "sider", client, 30, None)
    assert tokens.check(token(), "bank") == tokens.check(token(), "bank") == "clerk 7"
    for number in range(5):
        with pytest.raises(AccessDenied):
            tokens.check(token(kid=f"unknown {number}"), "bank")
    assert len(asked) == 1


def test_an_issuer_that_is_away() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        port = server.server_port
    tokens = Tokens("https://id.bank", "sider", jwt.PyJWKClient(f"http://127.0.0.1:{port}/keys"), 30, None)
    with pytest.raises(Unavailable) as caught:
        tokens.check(token(), "bank")
    assert caught.value.code == "issuer_unavailable"


def test_a_repeated_restore_needs_a_good_token_and_may_bring_another(service: Service, ask: Callable[..., Any]) -> None:
    once = {"Idempotency-Key": "one"}
    first, again, bad = (ask(text, **once) for text in (token(), token(jti="2"), token(OTHER)))
    assert (first.status_code, again.json(), bad.status_code) == (202, first.json(), 401)
    assert again.headers["idempotent-replayed"] == "true"
    restores = [e.outcome for e in service.parts.audit.latest(9) if e.event == "restore"]
    assert restores == ["accepted", "token_invalid"]


def test_a_refused_restore_is_told_with_photo_reason_and_subject(service: Service, ask: Callable[..., Any]) -> None:
    assert ask(token(), **{"Idempotency-Key": "one"}).status_code == 202
    service.keys.down = True
    assert ask(token()).status_code == 503
    [last] = service.parts.audit.latest(1)
    assert (last.outcome, last.subject[:4]) == ("store_unavailable", "pho_")
    assert last.details == {"reason": "dispute 1", "subject": "clerk 7"}
