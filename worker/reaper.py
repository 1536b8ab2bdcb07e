"""Puts right what crashes leave: expired leases, messages never sent or lost by the queue.

Then it ends what was kept long enough, and signs the audit log.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from core.jobs.states import State
from worker.context import Context
from worker.retention import Retention
from worker.tasks import clean_up

logger = structlog.get_logger(__name__)

SWEEP_SECONDS = 3.0
STALE_SECONDS = 300.0  # queued this long after publishing: the queue may have lost the message


class Reaper(threading.Thread):
    """Sweeps in the background of a worker's parent process; any number of workers may do so at once."""

    def __init__(self, context: Context, publish: Callable[[str], None]) -> None:
        super().__init__(name="reaper", daemon=True)
        self._context, self._publish = context, publish
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(SWEEP_SECONDS):
            try:
                self.sweep()
            except Exception as error:
                # Whatever is away now (database, broker) will be there at a later sweep.
                logger.warning("sweep_failed", error=type(error).__name__)

    def stop(self) -> None:
        self._stopped.set()

    def sweep(self) -> None:
        """One round."""
        jobs = self._context.jobs
        for job_id in jobs.requeue_expired(self._context.settings.max_attempts):
            job = jobs.get(job_id)
            logger.warning("lease_expired", job_id=job_id, state=job.state)
            if job.state == State.failed:
                clean_up(job, self._context.shelf, failed=True)
        jobs.republish_stale(STALE_SECONDS)
        for job_id in jobs.unpublished():
            self._publish(job_id)
            jobs.mark_published(job_id)
            logger.info("published_again", job_id=job_id)
        Retention(self._context).sweep()
        self._context.heads.anchor()
