"""GET and DELETE /jobs/{id} for the owner, GET /jobs for dashboards."""

from __future__ import annotations

from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Query

from api.admission import GuardedRoute
from api.auth import Caller, needs
from api.parts import Parts, parts
from api.problems import documented, of_job
from api.schemas import JobPage, JobSummary, JobView
from core.errors import Unavailable
from core.jobs.leftovers import clear
from core.jobs.states import State
from core.jobs.tables import Job
from core.vault.shelf import restored_key

router = APIRouter(tags=["jobs"], route_class=GuardedRoute)
logger = structlog.get_logger(__name__)


@router.get("/jobs/{job_id}", responses=documented(401, 403, 404, 429, 503), summary="State of a job")
def get_job(
    job_id: str,
    found: Annotated[Parts, Depends(parts)],
    who: Annotated[Caller, Depends(needs("protect", "restore", "ops"))],
) -> JobView:
    """State, progress and, at the end, the result or the problem. Jobs of other tenants are not there.

    A key with the scope `ops` finds every job, but not which photo it is of and what came out. The link to a
    restored photo is given once, to the first call that may see it.
    """
    return view(found.jobs.get(job_id, None if who.may("ops") else who.tenant), found, who)


@router.delete("/jobs/{job_id}", responses=documented(401, 403, 404, 409, 429, 503), summary="Cancel a job")
def cancel_job(
    job_id: str, found: Annotated[Parts, Depends(parts)], who: Annotated[Caller, Depends(needs("protect", "restore"))]
) -> JobView:
    """Ends a job that waits or runs; the key needs the scope of its kind. May be repeated.

    Upload and secret are deleted at once, and a worker in the middle of it stops at its next beat: of a cancelled
    protection nothing is kept. A job that has ended stays as it is (409).
    """
    job = found.jobs.get(job_id, who.tenant)
    who.needs(job.kind)
    job = found.jobs.cancel(job.id, who.actor)
    try:
        clear(job, found.shelf)
    except Unavailable as error:
        logger.warning("clearing_postponed", job_id=job.id, code=error.code)  # the reaper does it
    return view(job, found, who)


@router.get("/jobs", responses=documented(401, 403, 404, 422, 429, 503), summary="All jobs, for dashboards")
def list_jobs(
    found: Annotated[Parts, Depends(parts)],
    _: Annotated[Caller, Depends(needs("ops"))],
    state: State | None = None,
    cursor: Annotated[str | None, Query(max_length=40)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> JobPage:
    """Newest first, of all tenants, without anything personal."""
    jobs = found.jobs.page(state, cursor, limit + 1)
    rows = [JobSummary.of(job) for job in jobs[:limit]]
    return JobPage(jobs=rows, next=rows[-1].job_id if len(jobs) > limit else None)


def view(job: Job, found: Parts, who: Caller) -> JobView:
    """A job as this caller may see it."""
    own = job.tenant == who.tenant and who.may("protect", "restore")
    return JobView(
        job_id=job.id,
        photo_id=job.photo_id if own else None,
        kind=job.kind,
        state=State(job.state),
        step=job.step,
        progress=job.progress,
        position=found.jobs.position(job) if job.state == State.queued else None,
        attempt=job.attempt,
        created_at=job.created_at,
        expires_at=job.expires_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        result=_result(job, found, who) if own else None,
        problem=_problem(job, own),
    )


def _result(job: Job, found: Parts, who: Caller) -> dict[str, Any] | None:
    restored = job.state == State.succeeded and job.kind == "restore"
    if not (restored and who.may("restore") and job.link_given_at is None):
        return job.result
    key = restored_key(job.tenant, job.id)
    # Made first: a store that is away must not use it up.
    link = found.shelf.photos.link(key, found.settings.link_seconds, f"{job.photo_id}.png")
    return {**(job.result or {}), "link": link} if found.jobs.give_link(job, who.actor) else job.result


def _problem(job: Job, own: bool) -> dict[str, Any] | None:
    # The details may be measurements of a face.
    return of_job(job.problem if own else {**job.problem, "details": {}}) if job.problem else None
