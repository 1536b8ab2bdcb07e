"""Pages for people: the same calls as the JSON API, answered in HTML. No script or style but our own files."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Response
from fastapi.staticfiles import StaticFiles

from api.pages import operations, sign_in, trial
from api.pages.rendering import HERE


class Fresh(StaticFiles):
    """Files that a browser asks for again: after an upgrade, new pages must not meet old scripts."""

    def file_response(self, *args: Any, **more: Any) -> Response:
        response = super().file_response(*args, **more)
        response.headers["Cache-Control"] = "no-cache"
        return response


def install(app: FastAPI) -> None:
    """Serve the pages besides the API."""
    for router in (sign_in.router, *trial.routers, operations.router):
        app.include_router(router)
    app.mount("/static", Fresh(directory=HERE / "static"), name="static")
