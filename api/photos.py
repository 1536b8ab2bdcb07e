"""GET and DELETE /photos/{id}."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from api.admission import GuardedRoute
from api.auth import Caller, needs
from api.parts import Parts, parts
from api.problems import documented, of_job
from api.schemas import Erased, PhotoView, Variant
from core.jobs.database import now
from core.jobs.states import State
from core.jobs.tables import Photo
from core.vault.custody import Custody
from core.vault.shelf import protected_key

router = APIRouter(tags=["photos"], route_class=GuardedRoute)


@router.get("/photos/{photo_id}", responses=documented(401, 403, 404, 429, 503), summary="A protected photo")
def get_photo(
    photo_id: str,
    found: Annotated[Parts, Depends(parts)],
    who: Annotated[Caller, Depends(needs("protect", "restore"))],
) -> PhotoView:
    """What was measured, and short-lived links to the protected variants; a `problem` if there are none."""
    photo = found.photos.get(photo_id, who.tenant)
    count = photo.variants if photo.protected_at else 0
    job = next(j for j in found.jobs.of_photo(photo.id) if j.kind == "protect")
    return PhotoView(
        photo_id=photo.id,
        job_id=job.id,
        state=State(job.state),
        problem=of_job(job.problem) if job.problem else None,
        method=photo.method,
        preset=photo.preset,
        custody=Custody(photo.custody),
        created_at=photo.created_at,
        protected_at=photo.protected_at,
        report=photo.report,
        variants=[Variant(name=f"v{n}", link=_link(found, photo, n)) for n in range(1, count + 1)],
    )


@router.delete("/photos/{photo_id}", responses=documented(401, 403, 404, 429, 503), summary="Erase a photo")
def erase_photo(
    photo_id: str, found: Annotated[Parts, Depends(parts)], who: Annotated[Caller, Depends(needs("protect"))]
) -> Erased:
    """Destroys the restoration key first: from then on nobody can restore, whatever copies are about.

    Then go the protected pictures, restored originals and the uploads of jobs still on their way.
    """
    photo = found.photos.get(photo_id, who.tenant)
    deleted = found.eraser.erase(photo, who.actor, {})
    return Erased(photo_id=photo_id, erased_at=now(), key_destroyed=True, objects_deleted=deleted)


def _link(found: Parts, photo: Photo, number: int) -> str:
    key = protected_key(photo.tenant, photo.made, number)
    return found.shelf.photos.link(key, found.settings.link_seconds, f"{photo.id}.v{number}.png")
