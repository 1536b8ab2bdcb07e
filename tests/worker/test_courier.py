"""Receivers that are slow, and others that wait for their turn."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy.orm import Session
from urllib3.exceptions import HTTPError

from core.jobs.tables import Delivery
from core.jobs.webhooks import delivery_of
from tests.api.test_webhooks import certified
from tests.worker.bench import Bench
from worker import courier
from worker.courier import PARALLEL, Courier, post


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


def test_a_tenant_with_many_deliveries_leaves_room_for_others(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs, told = bench.context.jobs, list[str]()
    job = bench.run()
    with Session(jobs.engine) as session, session.begin():
        for number in range(60):  # more than a round looks at
            session.add(delivery_of(job, f"http://slow.example/{number}"))
        other = delivery_of(job, "http://other.example/")
        other.tenant = "rival"
        session.add(other)
    for tenant in ("bank", "rival"):
        bench.context.webhooks.new_secret(tenant, bench.context.shelf.keyring)
    monkeypatch.setattr(courier, "post", lambda url, *_: told.append(url) or 204)
    Courier(bench.context).sweep()
    assert "http://other.example/" in told[:PARALLEL]
    assert len(set(told)) == len(told) == 61
    with Session(jobs.engine) as session:
        assert all(row.delivered_at for row in session.query(Delivery))
