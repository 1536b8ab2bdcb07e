"""Deletes what belongs to no job: uploads and secrets of requests that ended between their objects and their row, and
restored originals, which are not sealed, of jobs that an older copy of the database does not know."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import structlog

from core.jobs.database import now
from core.jobs.keys import ApiKeys
from worker.context import Context

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Orphans:
    """Any number of workers may sweep at once."""

    context: Context

    def sweep(self) -> None:
        """One round (Unavailable). An object is left alone for longer than any request takes."""
        jobs, shelf = self.context.jobs, self.context.shelf
        before = now() - timedelta(seconds=self.context.settings.orphan_seconds)
        for tenant in {key.tenant for key in ApiKeys(jobs.engine).all()}:
            for job_id in shelf.of_jobs(tenant, before):
                if not jobs.known(job_id):
                    shelf.drop_job(tenant, job_id)
                    shelf.drop_restored(tenant, job_id)
                    logger.info("orphan_deleted", job_id=job_id)
