"""Problems (RFC 9457) -> core errors, the way back from api/problems.py: one set of names on both sides."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from core.errors import (
    AccessDenied,
    NoFaceFound,
    NotFound,
    PhotoRefused,
    PromiseNotMet,
    RequestRefused,
    RestoreDenied,
    SiderError,
    StateConflict,
    TooMany,
    Unavailable,
)

BY_CODE: dict[str, type[SiderError]] = {kind.default_code: kind for kind in (NoFaceFound, PromiseNotMet)}
BY_STATUS: dict[int, type[SiderError]] = {
    400: RequestRefused,
    401: AccessDenied,
    403: AccessDenied,
    404: NotFound,
    409: StateConflict,
    413: PhotoRefused,
    415: PhotoRefused,
    422: RequestRefused,
    429: TooMany,
    500: SiderError,
}
STANDARD = frozenset({"type", "title", "status", "detail", "code"})


def error_of(problem: Mapping[str, Any]) -> SiderError:
    """The error that a problem tells of; its details are what the problem has besides the standard members."""
    code, status = str(problem["code"]), int(problem["status"])
    if code == RestoreDenied.default_code:
        return RestoreDenied()
    kind = BY_CODE.get(code) or (PhotoRefused if code.startswith("photo_") else BY_STATUS.get(status, Unavailable))
    details = {name: value for name, value in problem.items() if name not in STANDARD}
    return kind(str(problem["detail"]), code=code, details=details)


def error_in(answer: httpx2.Response) -> SiderError | None:
    """The error that an answer tells of, if it does; the body has been read."""
    if answer.is_success:
        return None
    try:
        return error_of(answer.json())
    except (ValueError, KeyError, TypeError):  # by a proxy in between
        status = answer.status_code
        return error_of({"code": f"http_{status}", "status": status, "detail": f"{answer.url.host} answers {status}"})


def retry_after(answer: httpx2.Response) -> float:
    """Seconds that an answer asks to wait, 0 if it does not."""
    text = answer.headers.get("retry-after", "")
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0
