"""What an ended job leaves in the store, and who must not find it there."""

from __future__ import annotations

from core.jobs.states import State
from core.jobs.tables import Job, made_by
from core.vault.shelf import Shelf


def clear(job: Job, shelf: Shelf) -> None:
    """Delete upload and secret of an ended job, and all that it made but for what it was to make; of an erased photo
    that, too. Safe to repeat.

    Raises:
        Unavailable: the store is away; the reaper will do it.
    """
    shelf.drop_job(job.tenant, job.id)
    succeeded = job.state == State.succeeded and job.result is not None  # see photos.forget
    if job.kind == "protect":
        names = every_name(job.photo_id, job.attempt)
        # Of a success only the runs before the last; an older release's last run has named its objects by the photo.
        shelf.drop_photo(job.tenant, names[1:-1] if succeeded else names, job.request["variants"])
    elif not succeeded or job.withdrawn_at:
        shelf.drop_restored(job.tenant, job.id)


def every_name(photo_id: str, attempts: int) -> list[str]:
    """What the objects of a photo may be named by after so many runs of its job."""
    return [made_by(photo_id, run) for run in (None, *range(1, attempts + 1))]
