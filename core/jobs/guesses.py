"""Wrong passwords: how many a photo takes in an hour, or all photos of a batch together, whose password is one.

Counted in the job table, which all processes share and which, unlike the counters of calls, is never away while jobs
are accepted.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from core.errors import RestoreDenied, TooMany
from core.jobs.database import now
from core.jobs.tables import Job, Photo
from core.vault.custody import Custody

WINDOW = timedelta(hours=1)
PAUSE_SECONDS = 10  # until what is on its way has probably ended


def check(session: Session, photo_id: str, most: int) -> None:
    """Insist that a photo, with those of its batch, was tried fewer than `most` times; what is on its way counts until
    it is known to be right.

    Raises:
        TooMany: too_many_guesses.
    """
    photo_ids = _under_one_password(session, photo_id)
    # The same row for all of them is locked, so that of two tries at once the second counts the first. Not against the
    # jobs that refer to the row.
    session.execute(select(Photo.id).where(Photo.id == photo_ids[0]).with_for_update(key_share=True))
    recent = or_(Job.finished_at.is_(None), Job.finished_at > now() - WINDOW)
    jobs = session.execute(
        select(Job.finished_at, Job.problem).where(Job.photo_id.in_(photo_ids), Job.kind == "restore", recent)
    ).all()
    wrong = sorted(j.finished_at for j in jobs if j.problem and j.problem["code"] == RestoreDenied.default_code)
    tries = len(wrong) + sum(j.finished_at is None for j in jobs)
    if tries < most:
        return
    free = (wrong[-most] + WINDOW - now()).total_seconds() if len(wrong) >= most else PAUSE_SECONDS
    message = (
        "too many wrong passwords for this photo or others of its batch, or too many restores of them at once; "
        "try again later"
    )
    raise TooMany(message, code="too_many_guesses", details={"retry_after": max(1, round(free))})


def _under_one_password(session: Session, photo_id: str) -> list[str]:
    """The photo and those that were accepted with it, erased ones, too, always in the same order."""
    batch = select(Job.batch_id).join(Photo).where(Job.photo_id == photo_id, Job.kind == "protect")
    # Alone, there is no password, and a batch may well be restored all at once.
    batch = batch.where(Photo.custody != Custody.SERVER)
    siblings = select(Job.photo_id).where(Job.batch_id.in_(batch), Job.kind == "protect")
    return sorted({photo_id, *session.scalars(siblings)})
