"""What an ended job leaves in the store, and who must not find it there."""

from __future__ import annotations

from core.jobs.states import State
from core.jobs.tables import Job
from core.vault.shelf import Shelf


def clear(job: Job, shelf: Shelf) -> None:
    """Delete upload and secret of an ended job and, unless it succeeded, everything it made. Safe to repeat.

    Raises:
        Unavailable: the store is away; the reaper will do it.
    """
    shelf.drop_job(job.tenant, job.id)
    if job.state == State.succeeded:
        return
    if job.kind == "restore":
        shelf.drop_restored(job.tenant, job.id)
    else:
        shelf.drop_photo(job.tenant, job.photo_id, job.request["variants"])
