"""Times the stages of a run, as its progress tells them: each lasts until the next begins."""

from __future__ import annotations

import time

from opentelemetry.trace import Span

from core import metrics, tracing


class Stages:
    """The stage of a run that is going on, if any, and its span."""

    def __init__(self) -> None:
        self._name = ""
        self._began = 0.0
        self._span: Span | None = None

    def enter(self, name: str) -> None:
        """This stage is going on."""
        if name != self._name:
            self.leave()
            self._name, self._began, self._span = name, time.perf_counter(), tracing.begin(name)

    def leave(self) -> None:
        """The last stage is over."""
        if self._span:
            self._span.end()
            metrics.STAGE_SECONDS.labels(self._name).observe(time.perf_counter() - self._began)
            self._name, self._span = "", None
