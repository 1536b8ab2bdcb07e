"""The log's lines, ours and those of libraries."""

from __future__ import annotations

import json
import logging
import resource
from collections.abc import Iterator

import pytest
import structlog

from core import logs
from worker.logs import configure


def test_what_a_library_logs_is_a_line_like_ours() -> None:
    record = logging.LogRecord("celery.worker", logging.WARNING, "", 0, "lost %s\nof two", ("one",), None)
    with structlog.contextvars.bound_contextvars(job_id="job_1", tenant="bank"):
        line = logs.of_libraries().format(record)
    assert "\n" not in line
    told = json.loads(line)
    assert told.pop("timestamp")
    assert told == {
        "event": "lost one\nof two", "level": "warning", "logger": "celery.worker", "job_id": "job_1", "tenant": "bank",
    }  # fmt: skip


@pytest.fixture
def verbose(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, tuple[int, int]]]]:
    """A worker that tells all it can; the limits that it has set itself."""
    limits: list[tuple[int, tuple[int, int]]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda *of: limits.append(of))
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)  # it would take pytest's handlers away
    configure("DEBUG")
    yield limits
    logs.configure("INFO")


@pytest.mark.usefixtures("verbose")
@pytest.mark.parametrize("library", ["botocore", "urllib3", "boto3", "s3transfer"])
def test_what_libraries_send_is_never_told(library: str) -> None:
    """Header fields of requests are credentials."""
    assert logging.getLogger(library).level == logging.WARNING


def test_no_core_dump_is_written(verbose: list[tuple[int, tuple[int, int]]]) -> None:
    assert verbose == [(resource.RLIMIT_CORE, (0, 0))]
