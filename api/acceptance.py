"""What POST /protect and POST /restore have in common: a job is accepted, with all that belongs to it or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from fastapi import Response
from sqlalchemy.orm import Session
from structlog.contextvars import get_contextvars

from api.auth import Caller
from api.idempotency import Attempt
from api.parts import Parts
from api.schemas import Acceptance, Accepted, JobForm
from core import tracing
from core.jobs import guesses
from core.jobs.database import now
from core.jobs.states import State
from core.jobs.tables import Job, Photo
from core.jobs.webhooks import delivery_of


def queued(job_id: str, who: Caller, kind: str, photo_id: str, request: dict[str, object]) -> Job:
    """The row of a new job."""
    return Job(
        id=job_id, tenant=who.tenant, actor=who.actor, kind=kind, photo_id=photo_id, request=request,
        state=State.queued, attempt=0, crashes=0, step="queued", progress=0.0, created_at=now(),
        request_id=get_contextvars().get("request_id"), traceparent=tracing.carried(),
    )  # fmt: skip


def accept(
    found: Parts, jobs: Sequence[Job], form: JobForm, attempt: Attempt, answer: Acceptance, photos: Sequence[Photo] = ()
) -> None:
    """Commit jobs together with their photos, their webhooks and the receipt of their request, and send their messages.

    Raises:
        StateConflict: the receipt is not ours any more.
        TooMany: other restores of the photo came first.
    """
    if form.expires_in:
        for job in jobs:
            job.expires_at = job.created_at + timedelta(seconds=form.expires_in)
    job_ids = [job.id for job in jobs]

    def also(session: Session) -> None:
        for job in jobs:
            if job.kind == "restore":  # once more, because others may have come in since; this one counts now
                guesses.check(session, job.photo_id, found.settings.max_guesses + 1)
        attempt.sign(session, answer)
        if form.webhook_url:
            session.add_all(delivery_of(job, form.webhook_url) for job in jobs)

    found.jobs.add(jobs, photos, also)
    for job_id in job_ids:
        if not found.publish(job_id):
            break  # each would wait for seconds, longer than a client does; the reaper sends the rest


def describe(response: Response, answer: Acceptance, attempt: Attempt) -> None:
    """The header fields of an acceptance."""
    response.headers["Location"] = (
        f"/jobs/{answer.job_id}" if isinstance(answer, Accepted) else f"/batches/{answer.batch_id}"
    )
    response.headers["Retry-After"] = "2"
    if attempt.earlier:
        response.headers["Idempotent-Replayed"] = "true"
