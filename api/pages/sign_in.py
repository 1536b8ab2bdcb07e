"""Signing in with an API key, and out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse

from api import session
from api.pages.rendering import PageRoute, render
from api.parts import Parts, parts
from api.problems import of_error
from core.errors import AccessDenied

MAX_BODY = 4096  # bytes: before anybody is known

router = APIRouter(include_in_schema=False)
signed_in = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/sign-in")
def ask(request: Request) -> Response:
    return render(request, "sign_in.html", problem=None)


@router.post("/sign-in", max_body_size=MAX_BODY)
def sign_in(request: Request, found: Annotated[Parts, Depends(parts)], key: Annotated[str, Form()] = "") -> Response:
    try:
        session.check_origin(request)
        found.keys.verify(key.strip())
    except AccessDenied as error:
        problem = of_error(error)
        return render(request, "sign_in.html", problem["status"], problem=problem)
    response = RedirectResponse("/", 303)
    session.start(response, request, key.strip(), found.shelf.keyring)
    return response


@signed_in.post("/sign-out")
def sign_out() -> Response:
    response = Response(status_code=204, headers={"HX-Redirect": "/sign-in"})
    session.end(response)
    return response


router.include_router(signed_in)
