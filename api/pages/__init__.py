"""Pages for people: the same calls as the JSON API, answered in HTML. No script or style but our own files."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from api.pages import operations, sign_in, trial
from api.pages.rendering import HERE


def install(app: FastAPI) -> None:
    """Serve the pages besides the API."""
    for router in (sign_in.router, *trial.routers, operations.router):
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
