"""Ends by policy: photos that were kept long enough, and originals that lay restored long enough."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta

import structlog

from core.jobs.database import now
from core.jobs.erasure import Eraser
from worker.context import Context

logger = structlog.get_logger(__name__)

BATCH = 50  # of each kind in one round, so that neither kind waits for a long backlog of the other


@dataclass(frozen=True, slots=True)
class Retention:
    """Any number of workers may sweep at once; what one could not delete the next round finds again."""

    context: Context

    def sweep(self) -> None:
        """One round (Unavailable)."""
        settings, shelf = self.context.settings, self.context.shelf
        jobs, photos = self.context.jobs, self.context.photos
        for job in jobs.restored_before(now() - timedelta(seconds=settings.restored_seconds), BATCH):
            shelf.drop_restored(job.tenant, job.id)
            jobs.mark_withdrawn(job)
        if settings.retention_days is None:
            return
        over = photos.made_before(now() - timedelta(days=settings.retention_days), BATCH)
        if over:
            # While either is away every attempt would be one more entry in the audit log.
            shelf.keys.check()
            shelf.photos.check()
        eraser = Eraser(jobs, photos, shelf, self.context.heads.audit)
        # In any order, so that workers that sweep at once seldom meet: each would tell the audit log.
        for photo in random.sample(over, len(over)):
            if not photos.kept(photo):
                continue  # another has erased it since
            eraser.erase(photo, "service", {"retention_days": settings.retention_days})
            logger.info("retention_over", photo_id=photo.id)
