"""Every request has an id, which its log lines, its job's and the caller know it by; and it is counted and timed."""

from __future__ import annotations

import re
import secrets
import time

import structlog
from opentelemetry import trace
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core import metrics

HEADER = "X-Request-ID"
FORM = re.compile(r"[A-Za-z0-9_.-]{8,64}")  # as UUIDs and other services have them; others get one of ours
# Of FastAPI's span: what a caller wrote, perhaps by mistake. The route is told.
AS_CALLED = ("url.path", "url.query", "http.request.method_original")
METHODS = {"GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"}
QUIET = "/health/"  # probes ask all the time

logger = structlog.get_logger(__name__)


class Requests:
    """Around everything else that answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        request_id = given if FORM.fullmatch(given) else secrets.token_hex(16)
        span, began, status = trace.get_current_span(), time.perf_counter(), 500
        span.set_attributes({"sider.request_id": request_id, **dict.fromkeys(AS_CALLED, "")})

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            finally:
                _tell(scope, status, time.perf_counter() - began)


def _tell(scope: Scope, status: int, seconds: float) -> None:
    # A caller may invent methods and paths, but no routes. Of files, the folder that was mounted is told.
    route = getattr(scope.get("route"), "path", None) or scope.get("root_path") or "unknown"
    method = scope["method"] if scope["method"] in METHODS else "other"
    metrics.HTTP_SECONDS.labels(method, route, status).observe(seconds)
    caller = scope.get("state", {}).get("caller")
    who = {"tenant": caller.tenant, "key_id": caller.key_id} if caller else {}
    log = logger.debug if route.startswith(QUIET) else logger.info
    log("answered", method=method, route=route, status=status, seconds=round(seconds, 4), **who)
