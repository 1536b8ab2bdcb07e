"""One trace from a request to the stages of its job, and nothing in it that is anybody's secret."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from core import tracing
from core.errors import ConfigurationError, NoFaceFound
from tests.api.conftest import PASSWORD, PHOTO, Service
from tests.fakes import LightEngine


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield exporter
    provider.shutdown()


def parent(span: ReadableSpan, spans: dict[str, ReadableSpan]) -> str:
    return next((name for name, s in spans.items() if span.parent and s.context.span_id == span.parent.span_id), "")


def test_one_trace_from_request_to_stage(service: Service, exported: InMemorySpanExporter) -> None:
    answer = service.upload(service.key("protect"))
    service.work()
    spans = {span.name: span for span in exported.get_finished_spans()}
    assert len({span.context.trace_id for span in spans.values()}) == 1
    assert {name: parent(span, spans) for name, span in spans.items()} == {
        "POST /protect": "", "publish": "POST /protect", "run": "POST /protect",
        "claim": "run", "fetch": "run", "optimise": "run", "store": "run", "finish": "run",
    }  # fmt: skip
    assert (
        spans["publish"].attributes["sider.job_id"]
        == spans["run"].attributes["sider.job_id"]
        == answer.json()["job_id"]
    )
    assert spans["POST /protect"].attributes["sider.request_id"] == answer.headers["x-request-id"]


def test_a_callers_trace_goes_on_through_every_run_of_the_job(service: Service, exported: InMemorySpanExporter) -> None:
    caller = f"00-{'ab' * 16}-{'cd' * 8}-01"
    job_id = service.upload({**service.key("protect"), "traceparent": caller}).json()["job_id"]
    jobs = service.parts.jobs
    job = jobs.claim(job_id, 60)
    assert job
    jobs.release(job_id, job.attempt)
    service.work()  # the second run, by another message
    runs = [span for span in exported.get_finished_spans() if span.name == "run"]
    assert [(f"{run.context.trace_id:x}", run.attributes["sider.attempt"]) for run in runs] == [("ab" * 16, 2)]


def test_a_run_that_fails_says_which_kind_of_error(service: Service, exported: InMemorySpanExporter) -> None:
    def fail() -> None:
        raise NoFaceFound("customer Smith has no face")

    service.upload(service.key("protect"))
    service.work(LightEngine(fail))
    [run] = [span for span in exported.get_finished_spans() if span.name == "run"]
    assert (run.attributes["error.type"], run.status.is_ok) == ("NoFaceFound", False)


def test_no_span_has_a_secret(service: Service, exported: InMemorySpanExporter) -> None:
    headers, photo_id = service.protected()
    service.restored(headers, photo_id)
    service.restored(headers, photo_id, "not the password")
    service.client.get(
        f"/jobs/{PASSWORD}", params={"password": PASSWORD}, headers={**headers, "baggage": f"p={PASSWORD}"}
    )
    service.client.get(f"/{PASSWORD}")
    told = "\n".join(span.to_json() for span in exported.get_finished_spans())
    assert "GET /jobs/{job_id}" in told
    key = headers["Authorization"].removeprefix("Bearer ")
    for secret in (
        PASSWORD,
        PASSWORD.replace(" ", "%20"),
        "not the password",
        key,
        "dispute",
        str(PHOTO.to_png()[-64:]),
    ):
        assert secret not in told
    assert "exception" not in told  # no error's text, no traceback


def test_off_unless_configured(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    before = trace.get_tracer_provider()
    tracing.configure("sider-api")
    assert trace.get_tracer_provider() is before
    job_id = service.upload(service.key("protect")).json()["job_id"]
    assert service.parts.jobs.get(job_id).traceparent is None


def test_configured_without_the_extra_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ConfigurationError, match=r"sider\[tracing\]"):
        tracing.configure("sider-api")
