"""The composition root of the API process: `uvicorn --factory api.app:create_app`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.body_limit import RequestBodyLimitMiddleware

from api import batches, docs, events, health, jobs, pages, photos, problems, protect, restore, verify
from api.events import leaving_at_once
from api.guard import Guard
from api.headers import SecurityHeaders
from api.metrics import Gauges
from api.parts import Parts, connect_parts
from api.requests import Requests
from api.schemas import Problem
from core import logs, metrics, tracing
from core.settings import Settings

FORM_OVERHEAD = 64 * 2**10  # bytes of a multipart body around the photo


def create_app(settings: Settings | None = None, parts: Parts | None = None) -> FastAPI:
    """The API over real parts, or over the given ones in tests."""
    settings = settings or Settings()
    logs.configure(settings.log_level)
    tracing.configure("sider-api")
    app = FastAPI(
        title="sider",
        version="0.1.0",
        lifespan=_running,
        # Spans of requests only: the logs would hold errors' texts, and the metrics are Prometheus'.
        telemetry={"metrics": False, "logs": False, "operation_spans": False, "auto_configure": False},
        docs_url=None,
        redoc_url=None,
        description="Face privacy as a service: people see someone else, machines still recognise the person, "
        "and the password brings the original back, bit for bit. Restorable photos are pseudonymised, not anonymous.",
        openapi_tags=[
            {"name": "photos", "description": "Protect, fetch, restore, erase."},
            {"name": "jobs", "description": "Follow work on its way."},
            {"name": "health", "description": "For load balancers and probes."},
        ],
    )
    app.state.parts = parts or connect_parts(settings)
    app.state.guard = Guard.of(settings)
    # Inside the problem handler (FastAPI's own max_body_size is outside it and would answer in plain text).
    # A restore may carry a protected PNG, which is larger than the JPEG it came from.
    limit = settings.max_upload_bytes * 4 + FORM_OVERHEAD
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=limit)
    problems.install(app)
    app.add_middleware(SecurityHeaders, hsts_seconds=settings.hsts_seconds)
    app.add_middleware(Requests)
    docs.install(app)
    for module in (protect, restore, jobs, batches, events, verify, photos, health):
        app.include_router(module.router)
    pages.install(app)
    _describe_problems(app)
    return app


@asynccontextmanager
async def _running(app: FastAPI) -> AsyncIterator[None]:
    settings = app.state.parts.settings
    metrics.serve(settings.metrics_host, settings.metrics_port, Gauges(app.state.parts.engine))
    with leaving_at_once(app.state.parts):
        yield
    await app.state.parts.limits.close()


def _describe_problems(app: FastAPI) -> None:
    """Put the schema that `problems.documented` refers to into OpenAPI, and replace FastAPI's own 422 body."""
    original = app.openapi

    def openapi() -> dict[str, object]:
        if app.openapi_schema is None:
            schema = original()
            schemas = schema.setdefault("components", {}).setdefault("schemas", {})
            schemas["Problem"] = Problem.model_json_schema()
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            for path in schema["paths"].values():
                for operation in path.values():
                    answers = operation["responses"]
                    if "application/json" in answers.get("422", {}).get("content", {}):
                        answers["422"] = problems.documented(422)[422]
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
