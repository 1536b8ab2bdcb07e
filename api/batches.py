"""GET and DELETE /batches/{id}: the jobs of photos that were sent together."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Depends

from api.admission import GuardedRoute
from api.auth import Caller, needs
from api.jobs import cancel_job
from api.parts import Parts, parts
from api.problems import documented
from api.schemas import BatchJob, BatchView, JobSummary
from core.errors import StateConflict
from core.jobs.states import ENDS, State

router = APIRouter(tags=["jobs"], route_class=GuardedRoute)


@router.get("/batches/{batch_id}", responses=documented(401, 403, 404, 429, 503), summary="Jobs of a batch")
def get_batch(
    batch_id: str, found: Annotated[Parts, Depends(parts)], who: Annotated[Caller, Depends(needs("protect", "restore"))]
) -> BatchView:
    """The jobs in the order of their photos, and how many are in which state."""
    jobs = found.jobs.of_batch(batch_id, who.tenant)
    rows = [BatchJob(**JobSummary.of(job).model_dump(), photo_id=job.photo_id) for job in jobs]
    return BatchView(batch_id=batch_id, counts=Counter(State(job.state) for job in jobs), jobs=rows)


@router.delete("/batches/{batch_id}", responses=documented(401, 403, 404, 429, 503), summary="Cancel a batch")
def cancel_batch(
    batch_id: str, found: Annotated[Parts, Depends(parts)], who: Annotated[Caller, Depends(needs("protect"))]
) -> BatchView:
    """Cancels, as `DELETE /jobs/{id}`, every job that has not ended; the others stay as they are. May be repeated."""
    for job in found.jobs.of_batch(batch_id, who.tenant):
        if job.state not in ENDS:
            with suppress(StateConflict):  # it has ended just now
                cancel_job(job.id, found, who)
    return get_batch(batch_id, found, who)
