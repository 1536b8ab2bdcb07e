"""A thread that does its round again and again."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from core import metrics

logger = structlog.get_logger(__name__)


class Sweeper(threading.Thread):
    """Runs in the background of a worker's parent process; any number of workers may sweep at once."""

    def __init__(self, name: str, sweep: Callable[[], None], seconds: float) -> None:
        super().__init__(name=name, daemon=True)
        self._sweep, self._seconds = sweep, seconds
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(self._seconds):
            try:
                self._sweep()
            except Exception as error:
                # Whatever is away now (database, broker, store) will be there at a later sweep.
                metrics.SWEEPS_FAILED.labels(self.name).inc()
                logger.warning("sweep_failed", sweeper=self.name, error=type(error).__name__)

    def stop(self) -> None:
        self._stopped.set()
