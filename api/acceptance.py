"""What POST /protect and POST /restore have in common: a job is accepted, with all that belongs to it or not at all."""

from __future__ import annotations

from datetime import timedelta

from fastapi import Response
from sqlalchemy.orm import Session
from structlog.contextvars import get_contextvars

from api.auth import Caller
from api.idempotency import Attempt
from api.parts import Parts
from api.schemas import Accepted, JobForm
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
    found: Parts, job: Job, form: JobForm, attempt: Attempt, photo: Photo | None = None, code: str | None = None
) -> Accepted:
    """Commit a job together with its photo, its webhook and the receipt of its request, and send its message.

    Raises:
        StateConflict: the receipt is not ours any more.
        TooMany: other restores of the photo came first.
    """
    if form.expires_in:
        job.expires_at = job.created_at + timedelta(seconds=form.expires_in)
    accepted = Accepted(job_id=job.id, photo_id=job.photo_id, state=State.queued, restore_code=code)

    def also(session: Session) -> None:
        if job.kind == "restore":  # once more, because others may have come in since; this one counts now
            guesses.check(session, job.photo_id, found.settings.max_guesses + 1)
        attempt.sign(session, accepted)
        if form.webhook_url:
            session.add(delivery_of(job, form.webhook_url))

    found.jobs.add(job, photo, also)
    found.publish(accepted.job_id)
    return accepted


def describe(response: Response, accepted: Accepted, attempt: Attempt) -> None:
    """The header fields of an acceptance."""
    response.headers["Location"] = f"/jobs/{accepted.job_id}"
    response.headers["Retry-After"] = "2"
    if attempt.earlier:
        response.headers["Idempotent-Replayed"] = "true"
