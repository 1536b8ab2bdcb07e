"""POST /protect: validate, keep safe, queue."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Response

from api.auth import Caller, needs
from api.parts import Parts, parts
from api.problems import documented
from api.schemas import Accepted, ProtectForm
from core import methods
from core.errors import RequestRefused, Unavailable
from core.jobs.database import now
from core.jobs.repository import new_id
from core.jobs.states import State
from core.jobs.tables import Job, Photo
from core.stages.validate import Limits, read_photo
from core.vault import passwords
from core.vault.custody import Custody

router = APIRouter(tags=["photos"])


def room(found: Annotated[Parts, Depends(parts)]) -> None:
    """Dependency: shed load before the upload is worked on."""
    if found.jobs.depth() >= found.settings.max_queue:
        raise Unavailable("the queue is full; try again later", code="queue_full")


@router.post(
    "/protect",
    status_code=202,
    dependencies=[Depends(room)],
    responses=documented(400, 401, 403, 413, 415, 422, 503),
    summary="Protect a photo",
)
def protect(
    response: Response,
    found: Annotated[Parts, Depends(parts)],
    who: Annotated[Caller, Depends(needs("protect"))],
    form: Annotated[ProtectForm, Form(media_type="multipart/form-data")],
) -> Accepted:
    """Accepts a photo and answers at once; poll `Location` for the job.

    The photo is checked before it is accepted. The password never leaves this process: it is turned into a key
    here, and only that key travels, sealed to the job.
    """
    settings = found.settings
    methods.check(form.method, form.preset)
    if form.variants > settings.max_variants:
        raise RequestRefused(f"{form.variants} variants; at most {settings.max_variants}")
    data = form.photo.file.read(settings.max_upload_bytes + 1)
    read_photo(data, Limits(settings.max_upload_bytes, settings.max_pixels))
    password = form.password.get_secret_value() if form.password else None
    form.custody.check(password)
    code = None if password or form.custody is Custody.SERVER else passwords.new_restore_code()

    job_id, photo_id = new_id("job"), new_id("pho")
    # Objects first, then the row: a crash in between leaves an orphan that nobody was promised.
    if secret := password or code:
        found.shelf.put_secret(who.tenant, job_id, passwords.lock(secret))
    found.shelf.put_upload(who.tenant, job_id, data)
    kept = Photo(
        id=photo_id, tenant=who.tenant, created_at=now(),
        method=form.method, preset=form.preset, variants=form.variants, custody=form.custody,
    )  # fmt: skip
    request = form.model_dump(include={"method", "preset", "variants", "seed", "faces", "custody"})
    found.jobs.add(queued(job_id, who, "protect", photo_id, request), kept)
    found.publish(job_id)
    response.headers["Location"] = f"/jobs/{job_id}"
    response.headers["Retry-After"] = "2"
    return Accepted(job_id=job_id, photo_id=photo_id, state=State.queued, restore_code=code)


def queued(job_id: str, who: Caller, kind: str, photo_id: str, request: dict[str, object]) -> Job:
    """The row of a new job."""
    return Job(
        id=job_id, tenant=who.tenant, actor=who.actor, kind=kind, photo_id=photo_id, request=request,
        state=State.queued, attempt=0, step="queued", progress=0.0, created_at=now(),
    )  # fmt: skip
