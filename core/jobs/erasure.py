"""Erasure: the restoration key first, so that nothing can be restored whatever copies are about, then the pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core.jobs.audit import Audit, Entry
from core.jobs.leftovers import every_name
from core.jobs.photos import Photos
from core.jobs.repository import Jobs
from core.jobs.tables import Photo
from core.vault.shelf import Shelf


@dataclass(frozen=True, slots=True)
class Eraser:
    """Erases photos with everything that is kept of them; the audit log has the receipts."""

    jobs: Jobs
    photos: Photos
    shelf: Shelf
    audit: Audit

    def erase(self, photo: Photo, actor: str, details: Mapping[str, str | int]) -> int:
        """Erase a photo; how many pictures it may have had. What of it is not done in the end is owed by the photo's
        jobs, and the reaper does it (Unavailable: not erased yet, or not all of it)."""
        # Said before it is done: should we end in between, the log has the reason for the missing key.
        self.audit.record(Entry("erase", "accepted", actor, photo.tenant, photo.id, details))
        self._destroy(photo)
        self.photos.mark_erased(photo.id, Entry("erase", "succeeded", actor, photo.tenant, photo.id, details))
        # A worker that stored the photo during the first round looks at the row only before or after it was marked:
        # before, and this round finds its objects; after, and it takes them back itself.
        return self._destroy(photo)

    def _destroy(self, photo: Photo) -> int:
        jobs = self.jobs.of_photo(photo.id)
        attempts = max((job.attempt for job in jobs if job.kind == "protect"), default=0)
        self.shelf.drop_photo(photo.tenant, every_name(photo.id, attempts), photo.variants)
        restorations = [job for job in jobs if job.kind == "restore"]
        for job in restorations:
            self.shelf.drop_restored(photo.tenant, job.id)
        for job in jobs:
            self.shelf.drop_job(photo.tenant, job.id)
        return photo.variants + len(restorations)
