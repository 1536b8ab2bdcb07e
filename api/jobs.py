"""GET /jobs/{id} for the owner, GET /jobs for dashboards."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from api.auth import Caller, caller, needs
from api.parts import Parts, parts
from api.problems import documented, problem
from api.schemas import JobPage, JobSummary, JobView
from core.jobs.states import State
from core.jobs.tables import Job
from core.vault.shelf import restored_key

router = APIRouter(tags=["jobs"])


@router.get("/jobs/{job_id}", responses=documented(401, 404), summary="State of a job")
def get_job(job_id: str, found: Annotated[Parts, Depends(parts)], who: Annotated[Caller, Depends(caller)]) -> JobView:
    """State, progress and, at the end, the result or the problem. Jobs of other tenants are not there."""
    job = found.jobs.get(job_id, who.tenant)
    return JobView(
        job_id=job.id,
        photo_id=job.photo_id,
        kind=job.kind,
        state=State(job.state),
        step=job.step,
        progress=job.progress,
        position=found.jobs.position(job) if job.state == State.queued else None,
        attempt=job.attempt,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        result=_result(job, found, who),
        problem=_problem(job),
    )


@router.get("/jobs", responses=documented(401, 403, 404, 422), summary="All jobs, for dashboards")
def list_jobs(
    found: Annotated[Parts, Depends(parts)],
    _: Annotated[Caller, Depends(needs("ops"))],
    state: State | None = None,
    cursor: Annotated[str | None, Query(max_length=40)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> JobPage:
    """Newest first, of all tenants, without anything personal."""
    jobs = found.jobs.page(state, cursor, limit + 1)
    rows = [
        JobSummary(
            job_id=j.id,
            kind=j.kind,
            state=State(j.state),
            step=j.step,
            progress=j.progress,
            attempt=j.attempt,
            created_at=j.created_at,
            finished_at=j.finished_at,
            problem_code=j.problem["code"] if j.problem else None,
        )
        for j in jobs[:limit]
    ]
    return JobPage(jobs=rows, next=rows[-1].job_id if len(jobs) > limit else None)


def _result(job: Job, found: Parts, who: Caller) -> dict[str, Any] | None:
    if job.state != State.succeeded or job.kind != "restore":
        return job.result
    # Only a key that may restore gets the link; it is made anew at each call and soon expires.
    if not who.may("restore"):
        return job.result
    key = restored_key(job.tenant, job.id)
    link = found.shelf.photos.link(key, found.settings.link_seconds, f"{job.photo_id}.png")
    return {**(job.result or {}), "link": link}


def _problem(job: Job) -> dict[str, Any] | None:
    if not job.problem:
        return None
    status = {"restore_denied": 403, "internal_error": 500, "poisoned": 500}.get(job.problem["code"], 422)
    return problem(status, job.problem["code"], job.problem["message"], **job.problem["details"])
