"""Spans from a request to the stages of its job, by OpenTelemetry; off, and nearly free, unless it is configured.

No span has more than names, ids and figures: no text of an error, no path or query as it was called. What a caller's
baggage holds goes no further than the API.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from core.errors import ConfigurationError

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
FIELD = "traceparent"

_propagator = TraceContextTextMapPropagator()


def configure(service: str) -> None:
    """Send this process's spans to where OpenTelemetry's own variables say, if they do.

    Raises:
        ConfigurationError: they do, but the extra `tracing` is not installed.
    """
    if not any(os.environ.get(name) for name in ENDPOINTS):
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError("traces need the extra `tracing`: pip install 'sider[tracing]'") from error
    os.environ.setdefault("OTEL_SERVICE_NAME", service)
    provider = TracerProvider(resource=Resource.create())
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


def begin(
    name: str,
    told: Mapping[str, str | int] | None = None,
    *,
    within: Context | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
    since: int | None = None,
) -> Span:
    """A span of the current one, or within a context; `since`: ns since the epoch, unless it begins now."""
    attributes = {f"sider.{key}": value for key, value in (told or {}).items()}
    return trace.get_tracer("sider").start_span(name, within, kind, attributes, start_time=since)


@contextmanager
def current(span: Span) -> Iterator[None]:
    """Spans that begin meanwhile are within this one; it ends with the block."""
    with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield
        except Exception as error:
            failed(error)
            raise


def failed(error: Exception) -> None:
    """Mark the current span; its error's text could hold what a customer sent."""
    span = trace.get_current_span()
    span.set_attribute("error.type", type(error).__name__)
    span.set_status(Status(StatusCode.ERROR))


def carried() -> str | None:
    """The current span, as a job's row carries it to its worker; None when there is none."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get(FIELD)


def resumed(traceparent: str | None) -> Context:
    """The context that a row carries."""
    return _propagator.extract({FIELD: traceparent} if traceparent else {}, Context())
