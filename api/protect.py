"""POST /protect: validate, keep safe, queue."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, File, Form, Response, UploadFile
from pydantic import SecretStr

from api.auth import Caller, needs
from api.parts import Parts, parts
from api.problems import documented
from api.schemas import Accepted, Faces, MethodName
from core import methods
from core.errors import RequestRefused, Unavailable
from core.jobs.database import now
from core.jobs.repository import new_id
from core.jobs.states import State
from core.jobs.tables import Job, Photo
from core.stages.validate import Limits, read_photo
from core.vault import passwords

router = APIRouter(tags=["photos"])

DEFAULT_METHOD = MethodName("sider")


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
    photo: Annotated[UploadFile, File(description="JPEG, PNG or WebP")],
    method: Annotated[MethodName, Form()] = DEFAULT_METHOD,
    preset: Annotated[str, Form(max_length=32, examples=["standard"])] = "standard",
    variants: Annotated[int, Form(ge=1, le=16, description="different protected faces of the same photo")] = 1,
    seed: Annotated[int | None, Form(ge=0, lt=2**63, description="the same seed gives the same faces")] = None,
    faces: Annotated[Faces, Form()] = Faces.all,
    password: Annotated[
        SecretStr | None, Form(description="needed to restore; without one a code is returned once")
    ] = None,
) -> Accepted:
    """Accepts a photo and answers at once; poll `Location` for the job.

    The photo is checked before it is accepted. The password never leaves this process: it is turned into a key
    here, and only that key travels, sealed to the job.
    """
    settings = found.settings
    if preset not in methods.presets(method):
        known = ", ".join(methods.presets(method))
        raise RequestRefused(f"unknown preset {preset!r}; known: {known}", code="preset_unknown")
    if variants > settings.max_variants:
        raise RequestRefused(f"{variants} variants; at most {settings.max_variants}")
    data = photo.file.read(settings.max_upload_bytes + 1)
    read_photo(data, Limits(settings.max_upload_bytes, settings.max_pixels))
    code = None if password else passwords.new_restore_code()
    secret = code or (password.get_secret_value() if password else "")
    passwords.check_new(secret)

    job_id, photo_id = new_id("job"), new_id("pho")
    # Objects first, then the row: a crash in between leaves an orphan that nobody was promised.
    found.shelf.put_secret(who.tenant, job_id, passwords.lock(secret))
    found.shelf.put_upload(who.tenant, job_id, data)
    request = {"method": method, "preset": preset, "variants": variants, "seed": seed, "faces": faces}
    kept = Photo(id=photo_id, tenant=who.tenant, method=method, preset=preset, variants=variants, created_at=now())
    found.jobs.add(queued(job_id, who.tenant, "protect", photo_id, request), kept)
    found.publish(job_id)
    response.headers["Location"] = f"/jobs/{job_id}"
    response.headers["Retry-After"] = "2"
    return Accepted(job_id=job_id, photo_id=photo_id, state=State.queued, restore_code=code)


def queued(job_id: str, tenant: str, kind: str, photo_id: str, request: dict[str, object]) -> Job:
    """The row of a new job."""
    return Job(
        id=job_id, tenant=tenant, kind=kind, photo_id=photo_id, request=request,
        state=State.queued, attempt=0, step="queued", progress=0.0, created_at=now(),
    )  # fmt: skip
