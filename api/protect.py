"""POST /protect: validate, keep safe, queue. One photo is a job, several are a batch of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Form, Response, UploadFile
from fastapi.concurrency import contextmanager_in_threadpool
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from api.acceptance import accept, describe, queued
from api.admission import QueueingRoute, check_room
from api.auth import Caller, caller
from api.decoding import check, content
from api.events import end_of, preferred_wait
from api.idempotency import Attempt, Once, once
from api.jobs import view
from api.parts import Parts, parts
from api.problems import documented
from api.schemas import Acceptance, Accepted, AcceptedBatch, Finished, ProtectForm
from core import methods
from core.errors import PhotoRefused, RequestRefused
from core.jobs.database import now
from core.jobs.repository import new_id
from core.jobs.states import State
from core.jobs.tables import Photo
from core.stages.validate import Limits
from core.vault import passwords
from core.vault.custody import Custody

logger = structlog.get_logger(__name__)

ASKED = {"method", "preset", "variants", "seed", "faces", "presentation", "age", "custody"}  # of the worker


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
        202: {"model": Acceptance, "description": "Accepted; a batch if there were several photos"},
        200: {"model": Finished, "description": "Ended within the time of `Prefer: wait`"},
    },
    summary="Protect photos",
)
async def protect(
    response: Response,
    found: Annotated[Parts, Depends(parts)],
    who: Annotated[Caller, Depends(caller)],
    once: Annotated[Once, Depends(once)],
    wait: Annotated[int, Depends(preferred_wait)],
    form: Annotated[ProtectForm, Form(media_type="multipart/form-data")],
) -> Acceptance | Finished:
    """Accepts a photo and answers at once; poll `Location` for the job.

    Several photos, as repeated fields `photo`, are accepted as one batch or not at all; if some are refused, the
    problem `batch_refused` names each of them. Each becomes a job like any other, under one password or restore code.

    The photo is checked before it is accepted. The password never leaves this process: it is turned into a key
    here, and only that key travels, sealed to the job. With `Prefer: wait=N` the answer comes when the job has ended
    (200), or after N seconds, 30 at most, as if it had not been asked for (202); a batch is not waited for.
    """
    accepted = await _protect(response, found, who, once, form)
    if wait and isinstance(accepted, Accepted) and not found.watchers.full(who.tenant, found.settings.tenant_share):
        response.headers["Preference-Applied"] = f"wait={wait}"
        try:
            if job := await end_of(found, accepted.job_id, who.tenant, wait):
                seen = await run_in_threadpool(view, job, found, who)
                response.status_code = 200
                return Finished(**seen.model_dump(), restore_code=accepted.restore_code)
        except SQLAlchemyError as error:
            # Accepted is accepted, and the restore code must reach its owner.
            logger.warning("wait_cut", job_id=accepted.job_id, error=type(error).__name__)
    return accepted


async def _protect(response: Response, found: Parts, who: Caller, once: Once, form: ProtectForm) -> Acceptance:
    await run_in_threadpool(_check, found, who, form)
    limits = Limits(found.settings.max_upload_bytes, found.settings.max_pixels)
    photos = (content(photo, limits) for photo in form.photo)
    async with contextmanager_in_threadpool(once.attempt(form, photos)) as attempt:
        accepted = attempt.earlier
        if accepted is None:
            if len(form.photo) > 1:  # before they are decoded: for that alone one would send many
                await run_in_threadpool(check_room, found, who, len(form.photo))
            calls = [partial(_refusal, photo, limits) for photo in form.photo]
            _insist(await found.decoders.run(who.tenant, found.settings.tenant_share, calls))
            accepted = await run_in_threadpool(_keep, found, who, form, limits, attempt)
    describe(response, accepted, attempt)
    return accepted


def _check(found: Parts, who: Caller, form: ProtectForm) -> None:
    """What can be refused without a look at the photos (RequestRefused)."""
    settings = found.settings
    methods.check(form.method, form.preset, methods.asked(presentation=form.presentation, age=form.age))
    if form.variants > settings.max_variants:
        raise RequestRefused(f"{form.variants} variants; at most {settings.max_variants}")
    if form.webhook_url:
        found.webhooks.check(form.webhook_url, who.tenant, settings.webhook_private)
    if len(form.photo) > settings.max_batch:
        raise RequestRefused(f"{len(form.photo)} photos; at most {settings.max_batch} in one request")


def _refusal(photo: UploadFile, limits: Limits) -> PhotoRefused | None:
    try:
        check(photo, limits)
    except PhotoRefused as error:
        return error
    return None


def _insist(refusals: Sequence[PhotoRefused | None]) -> None:
    """On photos that can all be used.

    Raises:
        PhotoRefused: the only one cannot.
        RequestRefused: `batch_refused`, with the problem of each that cannot.
    """
    refused = [(number, error) for number, error in enumerate(refusals) if error]
    if refused and len(refusals) == 1:
        raise refused[0][1]
    if refused:
        message = (
            f"nothing was accepted: {len(refused)} of {len(refusals)} photos cannot be used; send the others again"
        )
        told = [{"photo": number, "code": error.code, "detail": str(error)} for number, error in refused]
        raise RequestRefused(message, code="batch_refused", details={"photos": told})


def _keep(found: Parts, who: Caller, form: ProtectForm, limits: Limits, attempt: Attempt) -> Acceptance:
    """Objects first, then the rows: a crash in between leaves orphans that nobody was promised."""
    check_room(found, who, len(form.photo))  # once more, because others may have come in since
    batch_id = new_id("bat") if len(form.photo) > 1 else None
    password = form.password.get_secret_value() if form.password else None
    form.custody.check(password)
    code = None if password or form.custody is Custody.SERVER else passwords.new_restore_code()
    secret = password or code
    lock = passwords.lock(secret) if secret else None
    request = form.model_dump(include=ASKED)
    jobs, photos = [], []
    for upload in form.photo:
        photo = Photo(
            id=new_id("pho"), tenant=who.tenant, created_at=now(),
            method=form.method, preset=form.preset, variants=form.variants, custody=form.custody,
        )  # fmt: skip
        job = queued(new_id("job"), who, "protect", photo.id, request)
        job.batch_id = batch_id
        if lock:
            found.shelf.put_secret(who.tenant, job.id, lock)
        found.shelf.put_upload(who.tenant, job.id, content(upload, limits))
        jobs.append(job)
        photos.append(photo)
    answers = [Accepted(job_id=job.id, photo_id=job.photo_id, state=State.queued) for job in jobs]
    answer: Acceptance
    if batch_id:
        answer = AcceptedBatch(batch_id=batch_id, jobs=answers, restore_code=code)
    else:
        answer = answers[0].model_copy(update={"restore_code": code})
    accept(found, jobs, form, attempt, answer, photos)
    return answer
