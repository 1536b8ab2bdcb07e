"""POST /restore: an authorised service asks for the original."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, File, Form, Response, UploadFile
from pydantic import SecretStr

from api.auth import Caller, caller
from api.parts import Parts, parts
from api.problems import documented
from api.protect import queued, room
from api.schemas import PHOTO, Accepted
from core.errors import RequestRefused, StateConflict
from core.jobs.audit import Entry
from core.jobs.repository import new_id
from core.jobs.states import State
from core.stages.validate import Limits, read_photo
from core.vault.passwords import KdfCost, Lock, derive_key

router = APIRouter(tags=["photos"])


@router.post(
    "/restore",
    status_code=202,
    dependencies=[Depends(room)],
    responses=documented(400, 401, 403, 404, 409, 413, 415, 422, 503),
    summary="Restore an original",
)
def restore(
    response: Response,
    found: Annotated[Parts, Depends(parts)],
    who: Annotated[Caller, Depends(caller)],
    photo_id: Annotated[str, Form(pattern="^pho_[0-9a-f]{32}$", examples=[PHOTO])],
    reason: Annotated[
        str, Form(min_length=3, max_length=200, description="kept in the audit log", examples=["dispute 4711"])
    ],
    password: Annotated[
        SecretStr | None, Form(description="the password, or the restore code; none in custody `server`")
    ] = None,
    photo: Annotated[
        UploadFile | None, File(description="the protected file; without it the stored first variant is used")
    ] = None,
) -> Accepted:
    """Answers at once; the job's result is a link to the original, bit for bit, given once.

    Whether the password is right is found by the worker: the job then fails with `restore_denied`, as it does
    for an altered key or photo. Every attempt with a good API key is in the audit log, with its outcome.
    """
    job_id = new_id("job")
    attempt = Entry("restore", "accepted", who.actor, who.tenant, photo_id, {"reason": reason})
    with found.audit.refusals(attempt):
        who.needs("restore")
        kept = found.photos.get(photo_id, who.tenant)
        if kept.protected_at is None:
            raise StateConflict("the photo is not protected yet; wait for its job")
        lock = _lock(password, found.shelf.restoration_kdf(who.tenant, photo_id))
        if photo is not None:
            data = photo.file.read(found.settings.max_upload_bytes * 4 + 1)
            read_photo(data, Limits(found.settings.max_upload_bytes * 4, found.settings.max_pixels))
            found.shelf.put_upload(who.tenant, job_id, data)
        request = {"reason": reason, "uploaded": photo is not None, "locked": lock is not None}
        if lock:
            found.shelf.put_secret(who.tenant, job_id, lock)
        found.jobs.add(queued(job_id, who, "restore", photo_id, request))
    found.publish(job_id)
    response.headers["Location"] = f"/jobs/{job_id}"
    response.headers["Retry-After"] = "1"
    return Accepted(job_id=job_id, photo_id=photo_id, state=State.queued, restore_code=None)


def _lock(password: SecretStr | None, kdf: tuple[bytes, KdfCost] | None) -> Lock | None:
    """The lock that the photo's custody asks for (RequestRefused)."""
    given = password.get_secret_value() if password else ""
    if kdf is None and not given:
        return None
    if kdf is None:
        raise RequestRefused("this photo takes no password: the service restores it alone")
    if not given:
        raise RequestRefused("this photo needs its password or restore code")
    return Lock(derive_key(given, *kdf), *kdf)
