"""Try it: a photo there and back in a browser.

The endpoints of the JSON API are the dependencies of these: they do the work, here it is put into HTML. Pictures come
through us instead of by links, so that a browser talks to nobody else. The original is never sent back for comparison:
the page has it from the visitor's own disk.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import RedirectResponse

from api.admission import GuardedRoute
from api.auth import Caller, caller, needs
from api.jobs import cancel_job
from api.pages.rendering import PageRoute, is_fragment, render
from api.parts import Parts, parts
from api.photos import erase_photo
from api.problems import of_job
from api.protect import ProtectRoute, protect
from api.restore import RestoreRoute, restore
from api.schemas import (
    Acceptance,
    Accepted,
    AcceptedBatch,
    Erased,
    Finished,
    JobView,
    MethodName,
    ProtectForm,
    Verified,
)
from api.verify import verify_photo
from core import methods
from core.errors import NotFound, StateConflict
from core.jobs.states import ENDS, State
from core.looks import Age, Faces, Presenting
from core.vault.custody import ALONE_LENGTH, Custody
from core.vault.passwords import MIN_LENGTH
from core.vault.shelf import PNG

pages = APIRouter(include_in_schema=False, route_class=PageRoute)
protecting = APIRouter(include_in_schema=False, route_class=ProtectRoute)
restoring = APIRouter(include_in_schema=False, route_class=RestoreRoute)
fetching = APIRouter(include_in_schema=False, route_class=GuardedRoute)
routers = (pages, protecting, restoring, fetching)

Found = Annotated[Parts, Depends(parts)]
Owner = Annotated[Caller, Depends(needs("protect", "restore"))]


@pages.get("/")
def start(request: Request, found: Found, who: Annotated[Caller, Depends(caller)]) -> Response:
    if not who.may("protect", "restore"):
        return RedirectResponse("/ops", 303)
    return render(request, "trial.html", **_choices(found), job=None)


@pages.get("/try/presets")
def presets(
    request: Request, _: Owner, method: Annotated[str, Query(max_length=32)],
    preset: Annotated[str | None, Query(max_length=32)] = None,
    presentation: Presenting = Presenting.keep, age: Age = Age.keep,
) -> Response:  # fmt: skip
    """What another method offers; what was chosen stays where it offers that, too."""
    return render(request, "method.html", **_of_method(method, preset, {"presentation": presentation, "age": age}))


@protecting.post("/try/protect")
def protect_photo(
    request: Request, found: Found, who: Owner, accepted: Annotated[Acceptance | Finished, Depends(protect)]
) -> Response:
    job = accepted.jobs[0] if isinstance(accepted, AcceptedBatch) else accepted  # the page itself sends one photo
    response = _work(request, found, who, job.job_id, accepted.restore_code)
    # The address survives a reload, the restore code does not: it is not kept.
    response.headers["HX-Push-Url"] = f"/try/jobs/{job.job_id}"
    return response


@restoring.post("/try/restore")
def restore_photo(
    request: Request, found: Found, who: Annotated[Caller, Depends(caller)],
    accepted: Annotated[Accepted, Depends(restore)],
) -> Response:  # fmt: skip
    return _work(request, found, who, accepted.job_id)


@fetching.post("/try/find")
def find(request: Request, found: Found, who: Owner, verified: Annotated[Verified, Depends(verify_photo)]) -> Response:
    """The page of a photo, by one of its protected pictures: who comes back tomorrow has nothing else; or a choice."""
    if not verified.outputs:
        raise NotFound(
            "this picture was not protected here, or was changed since (scaled, compressed), or its photo was erased"
        )
    photo_ids = dict.fromkeys(output.photo_id for output in verified.outputs)
    job, *others = [job for each in photo_ids for job in found.jobs.of_photo(each) if job.kind == "protect"]
    if others:  # the same upload and seed: their passwords may differ, and a wrong one counts as a guess
        return render(request, "twins.html", jobs=[job, *others])
    response = _work(request, found, who, job.id)
    response.headers["HX-Push-Url"] = f"/try/jobs/{job.id}"
    return response


@pages.get("/try/jobs/{job_id}")
def work(request: Request, found: Found, who: Owner, job_id: str) -> Response:
    return _work(request, found, who, job_id)


@pages.delete("/try/jobs/{job_id}")
def cancel(request: Request, found: Found, who: Owner, ended: Annotated[JobView, Depends(cancel_job)]) -> Response:
    return _work(request, found, who, ended.job_id)


@pages.delete("/try/photos/{photo_id}")
def erase(request: Request, erased: Annotated[Erased, Depends(erase_photo)]) -> Response:
    return render(request, "erased.html", erased=erased)


@fetching.get("/try/photos/{photo_id}/v{number}.png")
def protected_picture(found: Found, who: Owner, photo_id: str, number: Annotated[int, Path(ge=1, le=16)]) -> Response:
    photo = found.photos.get(photo_id, who.tenant)
    return _picture(found.shelf.get_protected(who.tenant, photo.made, number))


@fetching.post("/try/jobs/{job_id}/original")
def original(found: Found, who: Annotated[Caller, Depends(needs("restore"))], job_id: str) -> Response:
    """A restored original, once, as the link of the JSON API."""
    job = found.jobs.get(job_id, who.tenant)
    if job.kind != "restore" or job.state != State.succeeded or job.link_given_at or job.withdrawn_at:
        raise _gone()
    picture = found.shelf.get_restored(job.tenant, job.id)  # first: a store that is away must not use it up
    if not found.jobs.give_link(job, who.actor):
        raise _gone()
    return _picture(picture)


def _work(request: Request, found: Parts, who: Caller, job_id: str, code: str | None = None) -> Response:
    """A job on its way, or what came of it."""
    job = found.jobs.get(job_id, who.tenant)
    values: dict[str, Any] = {"job": job, "code": code, "ended": job.state in ENDS, "problem": None, "photo": None}
    if job.problem:
        values["problem"] = of_job(job.problem)
    elif job.kind == "protect" and job.state == State.succeeded:
        values["photo"] = found.photos.get(job.photo_id, who.tenant)
    values["tokens"] = request.app.state.guard.tokens is not None
    if is_fragment(request):
        return render(request, "work.html", **values)
    return render(request, "trial.html", **_choices(found), **values)


def _choices(found: Parts) -> dict[str, Any]:
    """What the form offers, from the register and the settings."""
    method = _default("method")
    return {
        "methods": list(MethodName), "method": method, **_of_method(method), "faces": list(Faces),
        "max_variants": found.settings.max_variants, "max_bytes": found.settings.max_upload_bytes,
        "custodies": list(Custody), "custody": _default("custody"),
        "min_length": MIN_LENGTH, "alone_length": ALONE_LENGTH,
    }  # fmt: skip


def _of_method(name: str, preset: str | None = None, looks: dict[str, str] | None = None) -> dict[str, Any]:
    presets = methods.presets(name)
    chosen = preset if preset in presets else _default("preset")
    asked = looks or {look: _default(look) for look in ("presentation", "age")}
    taken = {look: value for look, value in asked.items() if look in methods.options(name)}
    return {"presets": presets, "preset": chosen, "promise": methods.promise(name), "looks": taken}


def _default(field: str) -> Any:
    return ProtectForm.model_fields[field].default


def _picture(png: bytes) -> Response:
    return Response(png, media_type=PNG)


def _gone() -> StateConflict:
    return StateConflict("this original was handed out before, or is gone; restore the photo again", code="given")
