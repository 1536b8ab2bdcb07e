"""POST /restore: an authorised service asks for the original."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Response
from pydantic import SecretStr

from api.auth import Caller, caller
from api.guard import Visitor, visitor
from api.parts import Parts, parts
from api.problems import documented
from api.protect import queued, room
from api.schemas import Accepted, RestoreForm
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
    form: Annotated[RestoreForm, Form(media_type="multipart/form-data")],
    guest: Annotated[Visitor, Depends(visitor)],
) -> Accepted:
    """Answers at once; the job's result is a link to the original, bit for bit, given once.

    Whether the password is right is found by the worker: the job then fails with `restore_denied`, as it does
    for an altered key or photo. Every attempt with a good API key is in the audit log, with its outcome.

    Where the service is set up so, the call needs a JWT with scope `restore` besides the API key: the JWT in
    `Authorization: Bearer`, the key in `X-API-Key`.
    """
    job_id, photo_id = new_id("job"), form.photo_id
    told: dict[str, str | int] = {"reason": form.reason}
    with found.audit.refusals(Entry("restore", "accepted", who.actor, who.tenant, photo_id, told)):
        who.needs("restore")
        if subject := guest.admit(who):
            told["subject"] = subject  # of refusals from here on, too
        kept = found.photos.get(photo_id, who.tenant)
        if kept.protected_at is None:
            raise StateConflict("the photo is not protected yet; wait for its job")
        lock = _lock(form.password, found.shelf.restoration_kdf(who.tenant, photo_id))
        if form.photo is not None:
            data = form.photo.file.read(found.settings.max_upload_bytes * 4 + 1)
            read_photo(data, Limits(found.settings.max_upload_bytes * 4, found.settings.max_pixels))
            found.shelf.put_upload(who.tenant, job_id, data)
        if lock:
            found.shelf.put_secret(who.tenant, job_id, lock)
        request: dict[str, object] = {**told, "uploaded": form.photo is not None, "locked": lock is not None}
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
