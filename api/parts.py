"""The parts an API process works with, and how it reaches the queue."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import redis
import structlog
from celery import Celery
from fastapi import Request
from opentelemetry.trace import SpanKind
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from api.decoding import Decoders
from api.limits import RateLimits, connect_limits
from api.sharing import States, Watchers
from core import tracing
from core.errors import Unavailable
from core.jobs.audit import Audit
from core.jobs.database import connect
from core.jobs.erasure import Eraser
from core.jobs.keys import ApiKeys
from core.jobs.message import BROKER_ERRORS, asking, message
from core.jobs.photos import Photos
from core.jobs.receipts import Receipts
from core.jobs.repository import Jobs
from core.jobs.webhooks import Webhooks
from core.settings import Settings
from core.vault import shelf
from core.vault.shelf import Shelf

logger = structlog.get_logger(__name__)


class Broker(Protocol):
    """The queue. A message is a job's id and nothing else."""

    def publish(self, job_id: str) -> None: ...
    def check(self) -> None: ...


class CeleryBroker:
    """Sends tasks by name; the API knows no task."""

    def __init__(self, url: str) -> None:
        self._app = Celery(broker=url, set_as_current=False)
        # Without a timeout a publish to a silent broker would hold its request for ever.
        timeouts = {"socket_timeout": 3, "socket_connect_timeout": 3}
        self._app.conf.update(broker_transport_options=timeouts, broker_connection_retry=False)
        self._redis = redis.Redis.from_url(url, **timeouts)

    def publish(self, job_id: str) -> None:
        with _asked("publish"):
            self._app.send_task(**message(job_id), retry=False)

    def check(self) -> None:
        with _asked("check"):
            self._redis.ping()


@contextmanager
def _asked(operation: str) -> Iterator[None]:
    """While the queue is asked (Unavailable)."""
    try:
        with asking(operation):
            yield
    except BROKER_ERRORS as error:
        raise Unavailable("the queue does not answer", code="broker_unavailable") from error


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything the endpoints use; tests put fakes here."""

    settings: Settings
    engine: Engine
    shelf: Shelf
    broker: Broker
    limits: RateLimits
    states: States = field(default_factory=States)
    leaving: threading.Event = field(default_factory=threading.Event)  # set when the server is told to stop
    watchers: Watchers = field(default_factory=Watchers)
    decoders: Decoders = field(default_factory=Decoders)

    @property
    def jobs(self) -> Jobs:
        return Jobs(self.engine)

    @property
    def photos(self) -> Photos:
        return Photos(self.engine)

    @property
    def receipts(self) -> Receipts:
        return Receipts(self.engine)

    @property
    def webhooks(self) -> Webhooks:
        return Webhooks(self.engine)

    @property
    def keys(self) -> ApiKeys:
        return ApiKeys(self.engine)

    @property
    def audit(self) -> Audit:
        return Audit(self.engine)

    @property
    def eraser(self) -> Eraser:
        return Eraser(self.jobs, self.photos, self.shelf, self.audit)

    def publish(self, job_id: str) -> bool:
        """Send the message; if queue or database are away the worker's reaper sends it later: the row is committed.

        Whether they have answered, and so may be asked for more.
        """
        try:
            with tracing.current(tracing.begin("publish", {"job_id": job_id}, kind=SpanKind.PRODUCER)):
                self.jobs.publish(job_id, self.broker.publish)
        except (Unavailable, SQLAlchemyError) as error:
            logger.warning("publish_postponed", job_id=job_id, error=type(error).__name__)
            return False
        return True


def connect_parts(settings: Settings) -> Parts:
    """Real parts of an environment."""
    return Parts(
        settings=settings,
        engine=connect(settings.database_url),
        shelf=shelf.connect(settings),
        broker=CeleryBroker(settings.broker_url.get_secret_value()),
        limits=connect_limits(settings),
    )


def parts(request: Request) -> Parts:
    """Dependency: the parts of this process."""
    found: Parts = request.app.state.parts
    return found
