"""Receivers that are slow, others that wait for their turn, and what couriers say to them and of them."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session
from urllib3.exceptions import HTTPError

from core.jobs.signatures import key_of, sign
from core.jobs.tables import Delivery, Job
from core.jobs.webhooks import Webhooks, delivery_of
from core.vault.keyring import Keyring
from tests.api.test_webhooks import certified
from tests.worker.bench import Bench, failing
from worker import courier
from worker.courier import PARALLEL, Courier, post

Posted = tuple[str, tuple[bytes, dict[str, str]]]  # where to, body and header fields


@contextmanager
def dripping(context: ssl.SSLContext | None) -> Iterator[int]:
    """The port of a server that answers 200 and then sends a header that does not end, a byte at a time."""

    def serve() -> None:
        with suppress(OSError):
            connection, _ = server.accept()
            with context.wrap_socket(connection, server_side=True) if context else connection as stream:
                stream.recv(65536)
                stream.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                while True:
                    stream.sendall(b"x")
                    time.sleep(0.02)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(server.getsockname()[1])
        thread.join(10)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_receiver_that_answers_byte_by_byte_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    context = certified(tmp_path, "localhost") if scheme == "https" else None
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setattr(courier, "WHOLE_SECONDS", 0.5)
    monkeypatch.setattr(courier, "resolve", lambda *_: "127.0.0.1")
    began = time.monotonic()
    with dripping(context) as port, pytest.raises((HTTPError, OSError, ValueError)):
        post(f"{scheme}://localhost:{port}/", (b"{}", {}), private=True)
    assert time.monotonic() >= began + 0.5  # nothing else ended it


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Posted]:
    """What is posted, and arrives."""
    posted: list[Posted] = []
    monkeypatch.setattr(courier, "post", lambda url, message, _: posted.append((url, message)) or 204)
    return posted


def owe(bench: Bench, *urls: str, tenant: str = "bank", keyring: Keyring | None = None) -> bytes:
    """Deliveries of the job, which has ended, and the tenant's key to sign them with."""
    job = bench.run()
    with Session(bench.context.jobs.engine) as session, session.begin():
        for delivery in (delivery_of(job, url) for url in urls):
            delivery.tenant = tenant
            session.add(delivery)
    return key_of(bench.context.webhooks.new_secret(tenant, keyring or bench.context.shelf.keyring))


def rows(bench: Bench) -> list[Delivery]:
    with Session(bench.context.jobs.engine, expire_on_commit=False) as session:
        return list(session.scalars(select(Delivery).order_by(Delivery.url)))


def test_a_tenant_with_many_deliveries_leaves_room_for_others(bench: Bench, told: list[Posted]) -> None:
    owe(bench, *(f"http://slow.example/{number}" for number in range(60)))  # more than a round looks at
    owe(bench, "http://other.example/", tenant="rival")
    Courier(bench.context).sweep()
    urls = [url for url, _ in told]
    assert "http://other.example/" in urls[:PARALLEL]
    assert len(set(urls)) == len(urls) == 61
    assert all(row.delivered_at for row in rows(bench))


def test_of_two_couriers_that_find_a_delivery_one_posts_it(
    bench: Bench, told: list[Posted], monkeypatch: pytest.MonkeyPatch
) -> None:
    due = Webhooks.due

    def overtaken(self: Webhooks, limit: int) -> list[tuple[Delivery, Job]]:
        monkeypatch.setattr(Webhooks, "due", due)
        found = due(self, limit)
        Courier(bench.context).sweep()
        return found

    owe(bench, "http://bank.example/")
    monkeypatch.setattr(Webhooks, "due", overtaken)
    Courier(bench.context).sweep()
    assert len(told) == 1


def test_a_secret_that_cannot_be_opened_holds_up_no_other_tenant(
    bench: Bench, told: list[Posted], tmp_path: Path
) -> None:
    owe(bench, "http://bank.example/")
    owe(bench, "http://rival.example/", tenant="rival", keyring=Keyring.open_or_create(tmp_path / "other.json"))
    Courier(bench.context).sweep()
    assert [url for url, _ in told] == ["http://bank.example/"]
    assert [row.answer for row in rows(bench)] == ["204", "RestoreDenied"]


def test_the_secret_before_the_newest_signs_beside_it(bench: Bench, told: list[Posted]) -> None:
    keys = [owe(bench), owe(bench, "http://bank.example/")]
    Courier(bench.context).sweep()
    [(_, (body, fields))] = told
    signed = sign(keys[::-1], fields["webhook-id"], int(fields["webhook-timestamp"]), body)
    assert fields["webhook-signature"] == signed


def test_why_an_attempt_failed_is_told_without_the_errors_text(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It may hold the URL, and that a customer's token."""
    owe(bench, "http://bank.example/hooks?customer=7")
    monkeypatch.setattr(courier, "post", failing(HTTPError("no answer from /hooks?customer=7")))
    Courier(bench.context).sweep()
    logged = "".join(capfd.readouterr())
    assert "webhook_failed" in logged
    assert "customer=7" not in logged
    assert [row.answer for row in rows(bench)] == ["HTTPError"]
