"""GET /docs: the API's description in a browser, without any other host and without inline scripts."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>sider: API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/viewer/swagger/swagger-ui.css">
<main id="docs"></main>
<script src="/docs/viewer/swagger/swagger-ui-bundle.js"></script>
<script src="/docs/start/docs.js"></script>
</html>
"""


def install(app: FastAPI) -> None:
    """Add the page. Swagger UI comes from a package that carries it."""

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(PAGE)

    viewer = StaticFiles(packages=[("fastapi_standalone_docs", "static")])
    app.mount("/docs/viewer", viewer)
    app.mount("/docs/start", StaticFiles(directory=Path(__file__).with_name("static")))
