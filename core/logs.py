"""JSON lines for API and worker. Nothing logs a request's body, pixels or secrets: a line names jobs and states."""

from __future__ import annotations

import logging
import resource
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TextIO, cast

import structlog
from structlog.typing import Processor

TOLD: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso"),
)


@dataclass(frozen=True)
class Forgiving:
    """A stream, or what is standard output at the time, that drops what it cannot write: a full disk must not end the
    work that a line tells of."""

    stream: TextIO | None

    def write(self, text: str) -> None:
        with suppress(OSError):
            (self.stream or sys.stdout).write(text)

    def flush(self) -> None:
        with suppress(OSError):
            (self.stream or sys.stdout).flush()


def configure(level: str, stream: TextIO | None = None) -> None:
    """Send structlog's lines from this level on to a stream; standard output by default. And write no core dumps:
    they would hold what no line tells."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    structlog.configure(
        processors=[*TOLD, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, Forgiving(stream))),
    )


def of_libraries() -> logging.Formatter:
    """Makes the same lines of what libraries log in the standard way."""
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*TOLD, structlog.stdlib.add_logger_name],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
    )
