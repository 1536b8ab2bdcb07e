"""POST /restore: an authorised service asks for the original."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Response

from api.acceptance import accept, describe, queued
from api.admission import QueueingRoute
from api.auth import Caller, needs
from api.idempotency import Attempt, Once, once
from api.parts import Parts, parts
from api.problems import documented
from api.schemas import Accepted, RestoreForm
from core.errors import StateConflict
from core.jobs.repository import new_id
from core.stages.validate import Limits, read_photo
from core.vault.passwords import Lock, derive_key

router = APIRouter(tags=["photos"], route_class=QueueingRoute)


@router.post(
    "/restore",
    status_code=202,
    responses=documented(400, 401, 403, 404, 409, 413, 415, 422, 429, 503),
    summary="Restore an original",
)
def restore(
    response: Response,
    found: Annotated[Parts, Depends(parts)],
    who: Annotated[Caller, Depends(needs("restore"))],
    once: Annotated[Once, Depends(once)],
    form: Annotated[RestoreForm, Form(media_type="multipart/form-data")],
) -> Accepted:
    """Answers at once; the job's result is a link to the original, bit for bit, given once.

    Whether the password is right is found by the worker: the job then fails with `restore_denied`, as it does
    for an altered key or photo.
    """
    limits = Limits(found.settings.max_upload_bytes * 4, found.settings.max_pixels)
    if form.webhook_url:
        found.webhooks.check(form.webhook_url, who.tenant, found.settings.webhook_private)
    data = None
    if form.photo is not None:
        data = form.photo.file.read(limits.max_bytes + 1)
        read_photo(data, limits)
    with once.attempt(form, data or b"") as attempt:
        accepted = attempt.earlier or _keep(found, who, form, data, attempt)
    describe(response, accepted, attempt)
    return accepted


def _keep(found: Parts, who: Caller, form: RestoreForm, data: bytes | None, attempt: Attempt) -> Accepted:
    kept = found.photos.get(form.photo_id, who.tenant)
    if kept.protected_at is None:
        raise StateConflict("the photo is not protected yet; wait for its job")
    salt, cost = found.shelf.restoration_kdf(who.tenant, kept.id)
    key = derive_key(form.password.get_secret_value(), salt, cost)
    job_id = new_id("job")
    if data is not None:
        found.shelf.put_upload(who.tenant, job_id, data)
    found.shelf.put_secret(who.tenant, job_id, Lock(key, salt, cost))
    request = {"reason": form.reason, "uploaded": data is not None}
    return accept(found, queued(job_id, who.tenant, "restore", kept.id, request), form, attempt)
