"""Header fields that every answer has: what a browser may do with it, and that nobody keeps it."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
FIELDS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Nearly all answers tell of somebody's photo; what may be kept, as a script of ours, says so itself.
    "Cache-Control": "no-store",
}


class SecurityHeaders:
    """Adds the fields as an answer begins, and so holds up no stream. hsts_seconds: of Strict-Transport-Security."""

    def __init__(self, app: ASGIApp, hsts_seconds: int) -> None:
        self._app = app
        self._fields = dict(FIELDS)
        if hsts_seconds:
            self._fields["Strict-Transport-Security"] = f"max-age={hsts_seconds}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_fields(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._fields.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_fields)
