"""POST /protect: validate, keep safe, queue."""

from __future__ import annotations

from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Form, Response
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from api.acceptance import accept, describe, queued
from api.admission import QueueingRoute
from api.auth import Caller, caller
from api.events import end_of, preferred_wait
from api.idempotency import Attempt, Once, once
from api.jobs import view
from api.parts import Parts, parts
from api.problems import documented
from api.schemas import Accepted, Finished, ProtectForm
from core import methods
from core.errors import RequestRefused
from core.jobs.database import now
from core.jobs.repository import new_id
from core.jobs.tables import Photo
from core.stages.sandbox import check_upload
from core.stages.validate import Limits
from core.vault import passwords
from core.vault.custody import Custody

logger = structlog.get_logger(__name__)


class ProtectRoute(QueueingRoute):
    """The way in for photos."""

    scope = "protect"


router = APIRouter(tags=["photos"], route_class=ProtectRoute)


@router.post(
    "/protect",
    status_code=202,
    response_model=None,
    responses=documented(400, 401, 403, 409, 413, 415, 422, 429, 503)
    | {
        202: {"model": Accepted, "description": "Accepted"},
        200: {"model": Finished, "description": "Ended within the time of `Prefer: wait`"},
    },
    summary="Protect a photo",
)
async def protect(
    response: Response,
    found: Annotated[Parts, Depends(parts)],
    who: Annotated[Caller, Depends(caller)],
    once: Annotated[Once, Depends(once)],
    wait: Annotated[int, Depends(preferred_wait)],
    form: Annotated[ProtectForm, Form(media_type="multipart/form-data")],
) -> Accepted | Finished:
    """Accepts a photo and answers at once; poll `Location` for the job.

    The photo is checked before it is accepted. The password never leaves this process: it is turned into a key
    here, and only that key travels, sealed to the job. With `Prefer: wait=N` the answer comes when the job has ended
    (200), or after N seconds, 30 at most, as if it had not been asked for (202).
    """
    accepted = await run_in_threadpool(_protect, response, found, who, once, form)
    if wait and not found.watchers.locked():
        response.headers["Preference-Applied"] = f"wait={wait}"
        try:
            if job := await end_of(found, accepted.job_id, wait):
                seen = await run_in_threadpool(view, job, found, who)
                response.status_code = 200
                return Finished(**seen.model_dump(), restore_code=accepted.restore_code)
        except SQLAlchemyError as error:
            # Accepted is accepted, and the restore code must reach its owner.
            logger.warning("wait_cut", job_id=accepted.job_id, error=type(error).__name__)
    return accepted


def _protect(response: Response, found: Parts, who: Caller, once: Once, form: ProtectForm) -> Accepted:
    settings = found.settings
    methods.check(form.method, form.preset)
    if form.variants > settings.max_variants:
        raise RequestRefused(f"{form.variants} variants; at most {settings.max_variants}")
    if form.webhook_url:
        found.webhooks.check(form.webhook_url, who.tenant, settings.webhook_private)
    data = form.photo.file.read(settings.max_upload_bytes + 1)
    check_upload(data, Limits(settings.max_upload_bytes, settings.max_pixels))
    with once.attempt(form, data) as attempt:
        accepted = attempt.earlier or _keep(found, who, form, data, attempt)
    describe(response, accepted, attempt)
    return accepted


def _keep(found: Parts, who: Caller, form: ProtectForm, data: bytes, attempt: Attempt) -> Accepted:
    """Objects first, then the row: a crash in between leaves an orphan that nobody was promised."""
    password = form.password.get_secret_value() if form.password else None
    form.custody.check(password)
    code = None if password or form.custody is Custody.SERVER else passwords.new_restore_code()
    job_id, photo_id = new_id("job"), new_id("pho")
    if secret := password or code:
        found.shelf.put_secret(who.tenant, job_id, passwords.lock(secret))
    found.shelf.put_upload(who.tenant, job_id, data)
    kept = Photo(
        id=photo_id, tenant=who.tenant, created_at=now(),
        method=form.method, preset=form.preset, variants=form.variants, custody=form.custody,
    )  # fmt: skip
    request = form.model_dump(include={"method", "preset", "variants", "seed", "faces", "custody"})
    return accept(found, queued(job_id, who, "protect", photo_id, request), form, attempt, kept, code)
