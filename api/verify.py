"""POST /photos/verify: was this picture made here?"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, File, UploadFile
from starlette.concurrency import run_in_threadpool

from api.admission import GuardedRoute
from api.auth import Caller, needs
from api.decoding import content
from api.parts import Parts, parts
from api.problems import documented
from api.schemas import Output, Verified
from core.stages.sandbox import read_upload
from core.stages.validate import Limits

router = APIRouter(tags=["photos"], route_class=GuardedRoute)


@router.post(
    "/photos/verify",
    responses=documented(400, 401, 403, 413, 415, 422, 429, 503),
    summary="Was this picture made here?",
)
async def verify_photo(
    photo: Annotated[UploadFile, File(description="JPEG, PNG or WebP; nothing of it is kept")],
    found: Annotated[Parts, Depends(parts)],
    who: Annotated[Caller, Depends(needs("protect", "restore"))],
) -> Verified:
    """The photos of this tenant of which exactly these pixels are a protected variant, whatever the metadata.

    A picture that was scaled, cropped or compressed anew is not recognised, and one of another tenant or of an erased
    photo is as unknown as any stranger's.
    """
    settings = found.settings
    limits = Limits(settings.max_upload_bytes * 4, settings.max_pixels)

    def seen() -> str:
        return read_upload(content(photo, limits), limits).sha256

    [sha256] = await found.decoders.run(who.tenant, settings.tenant_share, [seen])
    made = await run_in_threadpool(lambda: found.photos.made(found.shelf.candidates(sha256), who.tenant))
    outputs = [Output(photo_id=row.id, name=f"v{n}", protected_at=row.protected_at) for row, n in made]
    return Verified(made_here=bool(outputs), outputs=outputs)
