"""GET and DELETE /photos/{id}."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from api.auth import Caller, caller, needs
from api.parts import Parts, parts
from api.problems import documented
from api.schemas import Erased, PhotoView, Variant
from core.jobs.database import now
from core.vault.shelf import protected_key

router = APIRouter(tags=["photos"])


@router.get("/photos/{photo_id}", responses=documented(401, 404), summary="A protected photo")
def get_photo(
    photo_id: str, found: Annotated[Parts, Depends(parts)], who: Annotated[Caller, Depends(caller)]
) -> PhotoView:
    """What was measured, and short-lived links to the protected variants."""
    photo = found.photos.get(photo_id, who.tenant)
    count = photo.variants if photo.protected_at else 0
    return PhotoView(
        photo_id=photo.id,
        method=photo.method,
        preset=photo.preset,
        created_at=photo.created_at,
        protected_at=photo.protected_at,
        report=photo.report,
        variants=[Variant(name=f"v{n}", link=_link(found, who, photo_id, n)) for n in range(1, count + 1)],
    )


@router.delete("/photos/{photo_id}", responses=documented(401, 403, 404, 503), summary="Erase a photo")
def erase_photo(
    photo_id: str, found: Annotated[Parts, Depends(parts)], who: Annotated[Caller, Depends(needs("protect"))]
) -> Erased:
    """Destroys the restoration key first: from then on nobody can restore, whatever copies are about."""
    photo = found.photos.get(photo_id, who.tenant)
    found.shelf.drop_restoration(who.tenant, photo_id)
    keys = [protected_key(who.tenant, photo_id, n) for n in range(1, photo.variants + 1)]
    for key in keys:
        found.shelf.photos.delete(key)
    found.photos.mark_erased(photo_id)
    return Erased(photo_id=photo_id, erased_at=now(), key_destroyed=True, objects_deleted=len(keys))


def _link(found: Parts, who: Caller, photo_id: str, number: int) -> str:
    key = protected_key(who.tenant, photo_id, number)
    return found.shelf.photos.link(key, found.settings.link_seconds, f"{photo_id}.v{number}.png")
