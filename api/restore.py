"""POST /restore: an authorised service asks for the original."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.concurrency import contextmanager_in_threadpool
from pydantic import SecretStr
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api.acceptance import accept, describe, queued
from api.admission import QueueingRoute, check_room
from api.auth import Caller, caller
from api.decoding import check, content
from api.guard import subject_of
from api.idempotency import Attempt, Once, once
from api.parts import Parts, parts
from api.problems import documented
from api.schemas import Acceptance, Accepted, RestoreForm
from core.errors import RequestRefused, StateConflict
from core.jobs import guesses
from core.jobs.audit import Entry
from core.jobs.repository import new_id
from core.jobs.states import State
from core.stages.validate import Limits
from core.vault.passwords import KdfCost, Lock, derive_key


class RestoreRoute(QueueingRoute):
    """The way to originals: where the service is set up so, it takes a second credential."""

    scope = "restore"

    async def admit(self, request: Request, found: Parts, who: Caller) -> None:
        # In a thread, because the issuer's keys may have to be fetched.
        request.state.caller = await run_in_threadpool(_admitted, request, found, who)
        await super().admit(request, found, who)


router = APIRouter(tags=["photos"], route_class=RestoreRoute)


@router.post(
    "/restore",
    status_code=202,
    responses=documented(400, 401, 403, 404, 409, 413, 415, 422, 429, 503),
    summary="Restore an original",
)
async def restore(
    response: Response,
    found: Annotated[Parts, Depends(parts)],
    who: Annotated[Caller, Depends(caller)],
    once: Annotated[Once, Depends(once)],
    form: Annotated[RestoreForm, Form(media_type="multipart/form-data")],
) -> Accepted:
    """Answers at once; the job's result is a link to the original, bit for bit, given once.

    Whether the password is right is found by the worker: the job then fails with `restore_denied`, as it does
    for an altered key or photo. After ten such jobs in an hour the photo takes no more for a while (429). An attempt
    with a good API key is in the audit log, with its outcome, unless load turns it away or its form is not valid.

    Where the service is set up so, the call needs a JWT with scope `restore` besides the API key: the JWT in
    `Authorization: Bearer`, the key in `X-API-Key`.
    """
    told = {"reason": form.reason} | ({"subject": who.subject} if who.subject else {})
    entry = Entry("restore", "accepted", who.actor, who.tenant, form.photo_id, told)
    async with contextmanager_in_threadpool(found.audit.refusals(entry)):
        accepted = await _restore(response, found, who, once, form)
    assert isinstance(accepted, Accepted)  # noqa: S101 - a receipt is of one endpoint
    return accepted


async def _restore(response: Response, found: Parts, who: Caller, once: Once, form: RestoreForm) -> Acceptance:
    settings = found.settings
    limits = Limits(settings.max_upload_bytes * 4, settings.max_pixels)
    if form.webhook_url:
        await run_in_threadpool(found.webhooks.check, form.webhook_url, who.tenant, settings.webhook_private)
    uploads = [] if form.photo is None else [form.photo]
    photos = (content(upload, limits) for upload in uploads)
    async with contextmanager_in_threadpool(once.attempt(form, photos)) as attempt:
        accepted = attempt.earlier
        if accepted is None:
            if checks := [partial(check, upload, limits) for upload in uploads]:
                await found.decoders.run(who.tenant, settings.tenant_share, checks)
            accepted = await run_in_threadpool(_keep, found, who, form, limits, attempt)
    describe(response, accepted, attempt)
    return accepted


def _admitted(request: Request, found: Parts, who: Caller) -> Caller:
    # Photo and reason are in the body, which is not read for who may not restore: the log has neither.
    with found.audit.refusals(Entry("restore", "accepted", who.actor, who.tenant)):
        who.needs(RestoreRoute.scope)
        return replace(who, subject=subject_of(request, who))


def _keep(found: Parts, who: Caller, form: RestoreForm, limits: Limits, attempt: Attempt) -> Accepted:
    check_room(found, who)  # once more, because others may have come in since
    kept = found.photos.get(form.photo_id, who.tenant)
    if kept.protected_at is None:
        raise StateConflict("the photo is not protected yet; wait for its job")
    with Session(found.engine) as session:
        guesses.check(session, kept.id, found.settings.max_guesses)
    lock = _lock(form.password, found.shelf.restoration_kdf(who.tenant, kept.made))
    job_id = new_id("job")
    if form.photo is not None:
        found.shelf.put_upload(who.tenant, job_id, content(form.photo, limits))
    if lock:
        found.shelf.put_secret(who.tenant, job_id, lock)
    request: dict[str, object] = {
        "reason": form.reason, "subject": who.subject, "uploaded": form.photo is not None, "locked": lock is not None,
    }  # fmt: skip
    answer = Accepted(job_id=job_id, photo_id=kept.id, state=State.queued)
    accept(found, [queued(job_id, who, "restore", kept.id, request)], form, attempt, answer)
    return answer


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
