"""Everything that can go wrong, by name.

One root with a stable `code`; the edges (HTTP, command line, worker) translate it once. A message carries
the offending value and what to do, never a secret and never a face.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar


class SiderError(Exception):
    """Root of all expected failures. `code` is stable and machine-readable; `details` is JSON-compatible."""

    default_code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, code: str | None = None, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code or self.default_code
        self.details = dict(details or {})


class PhotoRefused(SiderError):
    """The uploaded bytes are not a photo we accept, by one of CODES."""

    default_code = "photo_refused"
    CODES = frozenset(
        "photo_" + reason
        for reason in ("empty", "too_large", "too_small", "format", "damaged", "animated", "colour_mode", "bit_depth",
                       "transparent", "too_complex")
    )  # fmt: skip


class RequestRefused(SiderError):
    """A parameter is unknown or out of range. Codes: request_invalid, method_unknown, preset_unknown,
    option_not_taken, batch_refused, webhook_refused, idempotency_key_reused."""

    default_code = "request_invalid"


class NoFaceFound(SiderError):
    """No face large and sharp enough to protect."""

    default_code = "no_face_found"


class PromiseNotMet(SiderError):
    """The result does not keep the method's promise; `details` holds the measured report."""

    default_code = "promise_not_met"


class RestoreDenied(SiderError):
    """Wrong password, altered key or altered photo: one and the same answer on purpose."""

    default_code = "restore_denied"

    def __init__(self) -> None:
        super().__init__("The password, the key and the photo do not belong together.")


class NotFound(SiderError):
    """No such thing for this caller (also: it belongs to another tenant)."""

    default_code = "not_found"


class StateConflict(SiderError):
    """The thing exists, but its state does not allow this (job already ended, lease lost, photo erased)."""

    default_code = "state_conflict"


class AccessDenied(SiderError):
    """No or bad API key (code unauthenticated), or its scope is missing (code forbidden); a restore's second
    credential is not there or not good (token_missing, token_invalid, insufficient_scope, certificate_unknown)."""

    default_code = "forbidden"


class TooMany(SiderError):
    """A caller asks for more than its share; `details` has `retry_after`, seconds. Codes: rate_limited,
    tenant_queue_full, too_many_guesses."""

    default_code = "rate_limited"


class Unavailable(SiderError):
    """A part we depend on does not answer, or the queue is full. Codes: store_unavailable,
    broker_unavailable, database_unavailable, issuer_unavailable, kms_unavailable, queue_full,
    watchers_full, decoder_busy, decoder_unavailable, keyring_behind."""

    default_code = "unavailable"


class ConfigurationError(SiderError):
    """Weights, bundle, keyring or settings are missing or broken; the message says how to get them."""

    default_code = "configuration_error"


def raised_at(error: BaseException) -> str:
    """File and line that raised it: what a log may tell of an error whose message nobody has checked for secrets."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else "?"
