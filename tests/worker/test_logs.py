"""The log's lines, ours and those of libraries."""

from __future__ import annotations

import json
import logging

import structlog

from core import logs


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
