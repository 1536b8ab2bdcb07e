"""Core errors -> RFC 9457 problems: the only file that knows both."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from core import errors

TYPE = "urn:sider:problem:"
MEDIA_TYPE = "application/problem+json"
STATUS: dict[type[errors.SiderError], int] = {
    errors.PhotoRefused: 422,
    errors.RequestRefused: 422,
    errors.NoFaceFound: 422,
    errors.PromiseNotMet: 422,
    errors.RestoreDenied: 403,
    errors.NotFound: 404,
    errors.StateConflict: 409,
    errors.AccessDenied: 403,
    errors.TooMany: 429,
    errors.Unavailable: 503,
    errors.ConfigurationError: 500,
}
BY_CODE = {
    "photo_too_large": 413,
    "photo_format": 415,
    "unauthenticated": 401,
    "token_missing": 401,
    "token_invalid": 401,
}
# RFC 6750; every other 401 asks for an API key.
CHALLENGES = {
    "token_missing": 'Bearer scope="restore"',
    "token_invalid": 'Bearer error="invalid_token", scope="restore"',
    "insufficient_scope": 'Bearer error="insufficient_scope", scope="restore"',
}
# How a job ended, where it is not the request's fault (422).
OF_JOB = {
    "restore_denied": 403,
    "not_found": 404,
    "internal_error": 500,
    "poisoned": 500,
    "job_expired": 504,
    "store_unavailable": 503,
    "kms_unavailable": 503,
    "keyring_behind": 503,
    "decoder_busy": 503,
    "decoder_unavailable": 503,
    "unavailable": 503,
}
OF_FRAMEWORK = {400: "request_invalid", 404: "not_found", 405: "method_not_allowed", 413: "photo_too_large"}
RETRY_SECONDS = 10
EXAMPLES = {
    400: ("request_invalid", "Missing boundary in multipart."),
    401: ("unauthenticated", "the API key is missing, unknown, revoked or expired"),
    403: ("forbidden", "this key lacks the scope restore"),
    404: ("not_found", "no such photo"),
    409: ("state_conflict", "the photo is not protected yet; wait for its job"),
    413: ("photo_too_large", "The request is larger than this service accepts."),
    415: ("photo_format", "not a JPEG, PNG or WebP"),
    422: ("request_invalid", "photo: Field required"),
    429: ("rate_limited", "this key has made too many calls (writes)"),
    503: ("queue_full", "the queue is full; try again later"),
}

logger = structlog.get_logger(__name__)


def problem(status: int, code: str, detail: str, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The body of a problem: `type` and `code` are stable, `detail` is for people, `more` is what was measured."""
    title = HTTPStatus(status).phrase
    standard = {"type": TYPE + code, "title": title, "status": status, "detail": detail, "code": code}
    return standard | {key: value for key, value in (more or {}).items() if key not in standard}


def respond(body: dict[str, Any]) -> JSONResponse:
    """A problem as a response, with the headers its status asks for."""
    headers = {}
    if body["status"] == 401 or body["code"] in CHALLENGES:
        headers["WWW-Authenticate"] = CHALLENGES.get(body["code"], "Bearer")
    if body["status"] == 503 or "retry_after" in body:
        headers["Retry-After"] = str(body.get("retry_after", RETRY_SECONDS))
    return JSONResponse(body, body["status"], headers, MEDIA_TYPE)


def of_error(error: errors.SiderError) -> dict[str, Any]:
    """The problem of a core error."""
    status = BY_CODE.get(error.code) or STATUS.get(type(error), 500)
    if status == 500:  # what is wrong inside is for the log
        return problem(500, "internal_error", "The service is not set up correctly.")
    return problem(status, error.code, str(error), error.details)


def of_job(found: Mapping[str, Any]) -> dict[str, Any]:
    """The problem a failed job's row tells: code, message, details."""
    return problem(OF_JOB.get(found["code"], 422), found["code"], found["message"], found["details"])


def install(app: FastAPI) -> None:
    """Answer every failure of `app` with a problem."""

    async def core_error(_: Request, error: Exception) -> Response:
        assert isinstance(error, errors.SiderError)  # noqa: S101
        body = of_error(error)
        if body["status"] >= 500:
            logger.error("core_error", code=error.code, message=str(error))
        return respond(body)

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        # Where and why, but never the value: it may be a password or a face.
        where = [{"field": _field(e["loc"]), "reason": _reason(e["msg"])} for e in error.errors()]
        detail = "; ".join(f"{w['field']}: {w['reason']}" for w in where)
        return respond(problem(422, "request_invalid", detail, {"errors": where}))

    async def http_error(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101
        status = error.status_code
        response = respond(problem(status, OF_FRAMEWORK.get(status, "http_error"), str(error.detail)))
        response.headers.update(error.headers or {})
        return response

    async def database_away(_: Request, error: Exception) -> Response:
        logger.error("database_unavailable", kind=type(error).__name__)
        return respond(problem(503, "database_unavailable", "the job table does not answer"))

    async def unexpected(_: Request, error: Exception) -> Response:
        # Kind and place, not the text: that could hold what a customer sent.
        logger.error("unexpected_error", kind=type(error).__name__, at=errors.raised_at(error))
        return respond(problem(500, "internal_error", "Something went wrong here; it has been logged."))

    app.add_exception_handler(errors.SiderError, core_error)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http_error)
    for away in (OperationalError, InterfaceError, PoolTimeout):
        app.add_exception_handler(away, database_away)

    # Outside, since what breaks off or is too large is answered there.
    @app.middleware("http")
    async def with_rate(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await last_resort(request, call_next)
        response.headers.update(getattr(request.state, "rate", {}))
        return response

    async def last_resort(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        # A handler for Exception would run outside all middleware and let the traceback go to the server's log.
        try:
            response = await call_next(request)
        except errors.SiderError as error:
            return await core_error(request, error)
        except HTTPException as error:
            return await http_error(request, error)
        except Exception as error:
            return await unexpected(request, error)
        if response.status_code == 413 and response.headers.get("content-type") != MEDIA_TYPE:
            return respond(problem(413, "photo_too_large", "The request is larger than this service accepts."))
        return response


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries for the problems an operation can answer with."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {
                MEDIA_TYPE: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "example": problem(status, *EXAMPLES[status]),
                }
            },
        }
        for status in statuses
    }


def _field(place: Sequence[str | int]) -> str:
    """Without the number of a repeated one: where there is only one, nobody counts."""
    return ".".join(str(part) for part in place[1:] if not isinstance(part, int))


def _reason(message: str) -> str:
    """For people, where what pydantic says is not."""
    said = {
        "UploadFile": "must be sent as a file (curl: -F photo=@me.jpg)",
        "Extra inputs": "there is no such field; /docs has all of them",
        "match pattern": "is not of the form that /docs shows",
        "valid integer": "must be a whole number",
    }
    return next((reason for word, reason in said.items() if word in message), message)
