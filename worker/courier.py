"""Takes webhooks to their receivers, and nowhere else.

A URL comes from a customer, and this process stands inside our network. So its name is resolved once, every address
it has must be global, the connection goes to the address that was checked (a second look-up could say something
else), no redirect is followed and no proxy is asked.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import structlog
import urllib3
from urllib3.exceptions import HTTPError

from core import metrics
from core.errors import RestoreDenied
from core.jobs.database import now
from core.jobs.signatures import sign
from core.jobs.tables import Delivery, Job
from core.jobs.webhooks import public
from worker.context import Context

CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 15.0
WHOLE_SECONDS = 20.0  # of an attempt, once the name is resolved: the others begin anew with each byte
PARALLEL = 8  # in a round, all at once: slow receivers hold up the others by one attempt at most
GONE = 410

logger = structlog.get_logger(__name__)


class AddressRefused(Exception):
    """The receiver's name leads into a network that is not the public Internet."""


class Courier:
    """Makes the attempts that are due. Any number of couriers may do so at once."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def sweep(self) -> None:
        """Rounds, until less is due than one has room for."""
        with ThreadPoolExecutor(PARALLEL, "courier") as pool:
            full = True
            while full:
                owed = self._context.webhooks.due(PARALLEL)
                list(pool.map(lambda each: self._attempt(*each), owed))
                full = len(owed) == PARALLEL

    def _attempt(self, delivery: Delivery, job: Job) -> None:
        webhooks = self._context.webhooks
        if not webhooks.claim(delivery):
            return
        attempt = delivery.attempts + 1
        log = logger.bind(delivery_id=delivery.id, job_id=job.id, attempt=attempt)
        try:
            keys = webhooks.secrets(delivery.tenant, self._context.shelf.keyring.latest())
            status = post(delivery.url, _message(delivery, job, keys), self._context.settings.webhook_private)
            answer = str(status)
        except (HTTPError, OSError, ValueError, AddressRefused, RestoreDenied) as error:
            # RestoreDenied: this machine's copy of the keyring cannot open the secret (yet).
            # The kind only: the text could hold the URL, and that a customer's token.
            status, answer = 0, type(error).__name__
        if 200 <= status < 300:
            webhooks.delivered(delivery.id, answer)
            outcome = "delivered"
        else:
            again = webhooks.failed(delivery.id, attempt, answer, gone=status == GONE)
            outcome = "failed" if again else "given_up"
        metrics.WEBHOOKS.labels(outcome).inc()
        log.info(f"webhook_{outcome}", answer=answer)


def post(url: str, message: tuple[bytes, dict[str, str]], private: bool) -> int:
    """The status that a receiver answers with; its body is not read.

    Raises:
        AddressRefused: the name leads to an address that is not global, and `private` is not set.
        HTTPError, OSError, ValueError: no answer.
    """
    parts = urlsplit(url)
    host, tls = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if tls else 80)
    address = resolve(host, port, private)
    timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=ANSWER_SECONDS)
    options: dict[str, Any] = {"timeout": timeout, "retries": False, "maxsize": 1}
    pool: urllib3.HTTPConnectionPool
    if tls:
        pool = urllib3.HTTPSConnectionPool(address, port, server_hostname=host, cert_reqs="CERT_REQUIRED", **options)
    else:
        pool = urllib3.HTTPConnectionPool(address, port, **options)
    body, fields = message
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    with pool, _cut_off(pool, WHOLE_SECONDS):
        answer = pool.urlopen(
            "POST", target, body, {"Host": parts.netloc, **fields}, redirect=False, preload_content=False
        )
        answer.close()
    return answer.status


@contextmanager
def _cut_off(pool: urllib3.HTTPConnectionPool, seconds: float) -> Iterator[None]:
    """End the pool's connections after so long (TimeoutError, HTTPError)."""
    made, opened, over = pool.ConnectionCls, list[Any](), threading.Event()

    def connection(**options: Any) -> Any:
        opened.append(made(**options))
        return opened[-1]

    def cut() -> None:
        over.set()
        for sock in (each.sock for each in opened if each.sock):
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # not ssl's own, which is for the thread that reads

    pool.ConnectionCls = connection  # type: ignore[assignment]
    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    if over.is_set():  # half a header looks like a whole one
        raise TimeoutError


def resolve(host: str, port: int, private: bool) -> str:
    """One address of a host (AddressRefused, OSError)."""
    found = [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    if not private and not all(map(public, found)):
        raise AddressRefused
    return found[0]


def _message(delivery: Delivery, job: Job, keys: list[bytes]) -> tuple[bytes, dict[str, str]]:
    """Body and header fields. The body is thin: who is asked for the result must show a key."""
    ended = job.finished_at.isoformat() if job.finished_at else None
    problem = job.problem["code"] if job.problem else None
    data = {"job_id": job.id, "photo_id": job.photo_id, "kind": job.kind, "state": job.state, "problem_code": problem}
    if job.batch_id:
        data["batch_id"] = job.batch_id
    body = json.dumps({"type": f"job.{job.state}", "timestamp": ended, "data": data}).encode()
    timestamp = int(now().timestamp())
    return body, {
        "Content-Type": "application/json",
        "User-Agent": "sider",
        "webhook-id": delivery.id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(keys, delivery.id, timestamp, body),
    }
