"""What an ended job leaves in the store, and who must not find it there."""

from __future__ import annotations

from core.jobs.states import State
from core.jobs.tables import Job
from core.vault.shelf import Shelf, protected_key, restored_key


def clear(job: Job, shelf: Shelf) -> None:
    """Delete upload and secret of an ended job and, unless it succeeded, everything it made. Safe to repeat.

    Raises:
        Unavailable: the store is away; the reaper will do it.
    """
    shelf.drop_job(job.tenant, job.id)
    if job.state == State.succeeded:
        return
    if job.kind == "restore":
        shelf.photos.delete(restored_key(job.tenant, job.id))
    else:
        shelf.drop_restoration(job.tenant, job.photo_id)
        for number in range(1, job.request["variants"] + 1):
            shelf.photos.delete(protected_key(job.tenant, job.photo_id, number))
