"""Webhooks from the request to the receiver, over real sockets."""

from __future__ import annotations

import base64
import ipaddress
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import select, update
from urllib3.exceptions import HTTPError

from core.jobs import database
from core.jobs.signatures import sign
from core.jobs.tables import Delivery
from tests.api.conftest import Service
from worker import courier
from worker.courier import AddressRefused, Courier, post, resolve


@dataclass
class Receiver:
    """A real HTTP server that keeps what it gets and answers with the statuses it is given, 204 at the end."""

    server: ThreadingHTTPServer
    statuses: list[int] = field(default_factory=list)
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])


@pytest.fixture
def receive() -> Iterator[Callable[..., Receiver]]:
    started: list[Receiver] = []

    def start(context: ssl.SSLContext | None = None) -> Receiver:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 204)
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.handle_error = lambda *_: None  # type: ignore[method-assign] # a refused handshake is the client's
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        receiver = Receiver(server)
        started.append(receiver)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return receiver

    yield start
    for receiver in started:
        receiver.server.shutdown()
        receiver.server.server_close()


def announced(service: Service, port: int) -> tuple[str, bytes]:
    """A job that was accepted with a webhook and has succeeded, and the secret of its tenant."""
    service.change(webhook_private=True)
    secret = service.parts.webhooks.new_secret("bank", service.parts.shelf.keyring)
    accepted = service.upload(service.key("protect"), webhook_url=f"http://127.0.0.1:{port}/hooks?customer=7")
    assert accepted.status_code == 202, accepted.text
    Courier(service.context()).sweep()  # too early
    service.work()
    return accepted.json()["job_id"], base64.b64decode(secret.removeprefix("whsec_"))


def test_an_ended_job_is_announced_once_and_signed(service: Service, receive: Callable[..., Receiver]) -> None:
    receiver = receive()
    job_id, key = announced(service, receiver.port)
    for _ in range(2):
        Courier(service.context()).sweep()
    [(path, fields, body)] = receiver.got
    assert (path, fields["host"]) == ("/hooks?customer=7", f"127.0.0.1:{receiver.port}")
    told = json.loads(body)
    assert (told["type"], told["data"]["job_id"], told["data"]["state"]) == ("job.succeeded", job_id, "succeeded")
    assert "report" not in body.decode()
    signed = sign([key], fields["webhook-id"], int(fields["webhook-timestamp"]), body)
    assert fields["webhook-signature"] == signed


def test_the_example_receives_it(service: Service) -> None:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    job_id, key = announced(service, port)
    env = os.environ | {"SIDER_WEBHOOK_SECRET": "whsec_" + base64.b64encode(key).decode()}
    example = Path(__file__).parents[2] / "examples" / "webhook_receiver.py"
    with subprocess.Popen([sys.executable, str(example), str(port)], env=env, stdout=subprocess.PIPE, text=True) as run:
        try:
            for _ in range(100):
                time.sleep(0.1)
                hurry(service)
                Courier(service.context()).sweep()
                with service.parts.engine.connect() as connection:
                    if connection.scalar(select(Delivery.delivered_at)):
                        break
            assert run.stdout is not None
            photo_id = service.parts.jobs.get(job_id).photo_id
            assert run.stdout.readline() == f"{photo_id} protect succeeded \n"
            assert post(f"http://127.0.0.1:{port}/", (b"{}", {"webhook-id": "msg_1"}), private=True) == 401
        finally:
            run.kill()


def hurry(service: Service) -> None:
    with service.parts.engine.begin() as connection:
        past = database.now() - timedelta(seconds=1)
        connection.execute(update(Delivery).where(Delivery.due_at.is_not(None)).values(due_at=past))


def test_a_receiver_that_was_away_gets_it_later_with_the_same_id(
    service: Service, receive: Callable[..., Receiver], since: Callable[..., float]
) -> None:
    receiver = receive()
    receiver.statuses += [500, 302]
    announced(service, receiver.port)
    for _ in range(4):
        Courier(service.context()).sweep()
        hurry(service)
    assert [path for path, _, _ in receiver.got] == ["/hooks?customer=7"] * 3  # no redirect was followed
    assert len({fields["webhook-id"] for _, fields, _ in receiver.got}) == 1
    assert len({body for _, _, body in receiver.got}) == 1
    assert [since("sider_webhook_attempts_total", outcome=outcome) for outcome in ("failed", "delivered")] == [2, 1]


def test_a_receiver_that_is_gone_is_left_alone(
    service: Service, receive: Callable[..., Receiver], since: Callable[..., float]
) -> None:
    receiver = receive()
    receiver.statuses += [410]
    announced(service, receiver.port)
    for _ in range(2):
        Courier(service.context()).sweep()
        hurry(service)
    assert len(receiver.got) == 1
    assert since("sider_webhook_attempts_total", outcome="given_up") == 1


@pytest.mark.parametrize("path", ["/protect", "/restore"])
@pytest.mark.parametrize(("url", "signed"), [("https://u:p@bank.example/", True), ("https://bank.example/", False)])
def test_a_webhook_that_cannot_be_delivered_or_signed_is_refused(
    service: Service, path: str, url: str, signed: bool
) -> None:
    headers, photo_id = service.protected()
    if signed:
        service.parts.webhooks.new_secret("bank", service.parts.shelf.keyring)
    answer = service.send(path, headers, photo_id, webhook_url=url)
    assert (answer.status_code, answer.json()["code"]) == (422, "webhook_refused")
    assert service.parts.jobs.depth() == 0


def test_nobody_listens(service: Service, capfd: pytest.CaptureFixture[str]) -> None:
    with closing(socket.socket()) as held:
        held.bind(("127.0.0.1", 0))  # bound and not listening: refused
        announced(service, held.getsockname()[1])
        Courier(service.context()).sweep()
    assert "webhook_failed" in "".join(capfd.readouterr())


def test_without_the_setting_nothing_goes_into_our_own_network(
    service: Service, receive: Callable[..., Receiver]
) -> None:
    receiver = receive()
    announced(service, receiver.port)
    service.change(webhook_private=False)
    Courier(service.context()).sweep()
    assert receiver.got == []


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",  # noqa: S104
        "240.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "fec0::1", "ff02::1", "::ffff:127.0.0.1",
        "::ffff:8.8.8.8", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:7f00:1::",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    with pytest.raises(AddressRefused):
        resolve(address, 443, private=False)


def names(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """From now on every name has these addresses; the names that were looked up."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *args: Any, **kwargs: Any) -> Any:
        try:
            ipaddress.ip_address(host)
        except ValueError:
            asked.append(host)
            return [found for address in addresses for found in real(address, port, *args, **kwargs)]
        return real(host, port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


def test_one_bad_address_among_good_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch, "8.8.8.8", "10.0.0.1")
    with pytest.raises(AddressRefused):
        resolve("hooks.example", 443, private=False)
    names(monkeypatch, "8.8.8.8", "2606:4700::1111")
    assert resolve("hooks.example", 443, private=False) == "8.8.8.8"


def certified(folder: Path, name: str) -> ssl.SSLContext:
    """A server's side of TLS under a certificate for a name, which is its own authority in FOLDER/ca.pem."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    start = database.now() - timedelta(days=1)
    builder = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(start + timedelta(days=9))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )  # fmt: skip
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    (folder / "ca.pem").write_bytes(pem)
    plain = serialization.NoEncryption()
    encoded = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (folder / "key.pem").write_bytes(encoded)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.pem", folder / "key.pem")
    return context


def test_tls_is_checked_for_the_name_and_the_name_is_looked_up_once(
    tmp_path: Path, receive: Callable[..., Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver = receive(certified(tmp_path, "hooks.example"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    asked = names(monkeypatch, "127.0.0.1")
    message = b"{}", {"webhook-id": "msg_1"}
    assert post(f"https://hooks.example:{receiver.port}/", message, private=True) == 204
    assert asked == ["hooks.example"]
    assert receiver.got[0][1]["host"] == f"hooks.example:{receiver.port}"
    with pytest.raises(HTTPError):
        post(f"https://other.example:{receiver.port}/", message, private=True)
    assert len(receiver.got) == 1


def test_a_receiver_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier, "ANSWER_SECONDS", 0.05)
    with closing(socket.socket()) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(HTTPError):
            post(f"http://127.0.0.1:{silent.getsockname()[1]}/", (b"{}", {}), private=True)
