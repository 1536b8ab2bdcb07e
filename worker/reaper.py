"""Puts right what crashes leave: lost leases, messages never sent or lost, objects of ended jobs; ends late jobs."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from worker.context import Context
from worker.tasks import tidy

logger = structlog.get_logger(__name__)

# Queued this long after publishing: the queue may have lost the message, and in an empty queue it surely has.
STALE_SECONDS, LOST_SECONDS = 300.0, 10.0


class Reaper:
    """One round after the other; any number of workers may do so at once."""

    def __init__(
        self, context: Context, publish: Callable[[str], None], queue_is_empty: Callable[[], bool] = lambda: False
    ) -> None:
        self._context, self._publish, self._queue_is_empty = context, publish, queue_is_empty

    def sweep(self) -> None:
        """One round; the error of a broker that is away comes when all the rest is done."""
        jobs = self._context.jobs
        for job_id in (*jobs.requeue_lapsed(), *jobs.expire()):
            logger.warning("reaped", job_id=job_id, state=jobs.get(job_id).state)
        self._context.receipts.sweep()
        self._context.webhooks.sweep()
        try:
            self._send()
        finally:
            # Last, and only until it fails: the store may be away, and the queue need not wait for it.
            for job in jobs.uncleared(self._context.settings.lease_seconds):
                if not tidy(job.id, self._context):
                    break

    def _send(self) -> None:
        jobs = self._context.jobs
        jobs.republish_stale(LOST_SECONDS if self._queue_is_empty() else STALE_SECONDS)
        for job_id in jobs.unpublished():
            if jobs.publish(job_id, self._publish):
                logger.info("published_again", job_id=job_id)
