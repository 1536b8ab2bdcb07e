"""GET /jobs/{id}/events: a job as server-sent events; and waiting for a job's end.

An event is the job's whole state, and its id a digest of it: to resume is to leave out what the client has seen, so
nothing but the row is kept for it. The row is looked at once a second, whichever process writes to it.
"""

from __future__ import annotations

import hashlib
import re
import signal
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from types import FrameType
from typing import Annotated

import structlog
from anyio import sleep
from fastapi import APIRouter, Depends, Header, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from api.admission import GuardedRoute
from api.auth import Caller, needs
from api.parts import Parts, parts
from api.problems import documented
from api.schemas import JobSummary
from core.errors import Unavailable
from core.jobs.states import ENDS
from core.jobs.tables import Job

SSE = "text/event-stream"
LOOK_SECONDS = 1.0
HEARTBEAT_SECONDS = 15.0
# Then the stream ends and the client resumes it: so a key that was revoked does not listen for ever.
STREAM_SECONDS = 900.0
MAX_WAIT = 30

router = APIRouter(tags=["jobs"], route_class=GuardedRoute)
logger = structlog.get_logger(__name__)

LastEventId = Annotated[
    str | None, Header(alias="Last-Event-ID", max_length=64, description="sent by browsers themselves to resume")
]


@router.get(
    "/jobs/{job_id}/events",
    response_class=StreamingResponse,
    responses=documented(401, 403, 404, 422, 429, 503)
    | {
        200: {"description": "The events", "content": {SSE: {"schema": {"type": "string"}}}},
        204: {"description": "The job has ended and the client knows: do not connect again."},
    },
    summary="A job's progress as events",
)
async def job_events(
    job_id: str,
    found: Annotated[Parts, Depends(parts)],
    who: Annotated[Caller, Depends(needs("protect", "restore", "ops"))],
    last_event_id: LastEventId = None,
) -> Response:
    """`event: job` with a JobSummary as data whenever the job has changed, `event: end` when it has ended.

    Send `Last-Event-ID` to resume. Comments keep the connection alive every 15 seconds; after 15 minutes, or when the
    server stops, it is closed and may be resumed. The result is not among the events: fetch it from `GET /jobs/{id}`.
    """
    job = await run_in_threadpool(found.jobs.get, job_id, None if who.may("ops") else who.tenant)
    if job.state in ENDS and event_of(job)[0] == last_event_id:
        return Response(status_code=204)
    if found.watchers.full(who.tenant, found.settings.tenant_share):
        raise Unavailable("too many clients watch jobs; poll GET /jobs/{id} instead", code="watchers_full")
    fields = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_stream(found, job.id, who.tenant, last_event_id), headers=fields, media_type=SSE)


async def watch(found: Parts, job_id: str, tenant: str, seconds: float) -> AsyncGenerator[Job]:
    """Look at a job once a second until it has ended, the time is over or the server stops; a last look is after.

    tenant: whose place it takes.
    """
    until = time.monotonic() + seconds
    async with found.watchers.place(tenant):
        while True:
            last = time.monotonic() >= until or found.leaving.is_set()
            job = await run_in_threadpool(found.jobs.get, job_id)
            yield job
            if job.state in ENDS or last:
                return
            await sleep(LOOK_SECONDS)


@contextmanager
def leaving_at_once(found: Parts) -> Iterator[None]:
    """Let nobody who watches a job hold up the server's end: it waits for all answers before it tells the app."""
    mine = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT) if mine}

    def leave(number: int, frame: FrameType | None) -> None:
        found.leaving.set()
        if callable(handler := before[signal.Signals(number)]):
            handler(number, frame)

    for number in before:
        signal.signal(number, leave)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


async def end_of(found: Parts, job_id: str, tenant: str, seconds: float) -> Job | None:
    """The job when it has ended, None if it does not in that time."""
    async with aclosing(watch(found, job_id, tenant, seconds)) as looks:
        async for job in looks:
            if job.state in ENDS:
                return job
    return None


def preferred_wait(
    prefer: Annotated[str, Header(max_length=255, description="wait=N: answer when the job has ended, or in N s")] = "",
) -> int:
    """Dependency: seconds of `Prefer: wait=N` (RFC 7240), MAX_WAIT at most; what cannot be understood is ignored."""
    wish = re.search(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,6})\"?\s*(?=[,;]|$)", prefer, re.IGNORECASE)
    return min(int(wish[1]), MAX_WAIT) if wish else 0


def event_of(job: Job) -> tuple[str, bytes]:
    """Id and wire form of the event that tells a job's state."""
    data = JobSummary.of(job).model_dump_json()
    event_id = hashlib.sha256(data.encode()).hexdigest()[:16]
    return event_id, format_sse_event(data_str=data, event="end" if job.state in ENDS else "job", id=event_id)


async def _stream(found: Parts, job_id: str, tenant: str, seen: str | None) -> AsyncGenerator[bytes]:
    spoken = time.monotonic()
    try:
        async with aclosing(watch(found, job_id, tenant, STREAM_SECONDS)) as looks:
            async for job in looks:
                event_id, event = event_of(job)
                silent = time.monotonic() - spoken
                if event_id != seen:
                    yield event
                elif silent >= HEARTBEAT_SECONDS:
                    yield KEEPALIVE_COMMENT
                else:
                    continue
                seen, spoken = event_id, time.monotonic()
    except SQLAlchemyError as error:
        # The answer has begun: all that can be told is its end. The client resumes.
        logger.warning("stream_cut", job_id=job_id, error=type(error).__name__)
