"""Wrong passwords: how many a photo takes in an hour. Counted in the job table, which all processes share and which,
unlike the counters of calls, is never away while jobs are accepted."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from core.errors import RestoreDenied, TooMany
from core.jobs.database import now
from core.jobs.tables import Job, Photo

WINDOW = timedelta(hours=1)
PAUSE_SECONDS = 10  # until what is on its way has probably ended


def check(session: Session, photo_id: str, most: int) -> None:
    """Insist that a photo was tried fewer than `most` times; what is on its way counts until it is known to be right.

    Raises:
        TooMany: too_many_guesses.
    """
    # Locked, so that of two tries at once the second counts the first. Not against the jobs that refer to the row.
    session.execute(select(Photo.id).where(Photo.id == photo_id).with_for_update(key_share=True))
    recent = or_(Job.finished_at.is_(None), Job.finished_at > now() - WINDOW)
    jobs = session.execute(
        select(Job.finished_at, Job.problem).where(Job.photo_id == photo_id, Job.kind == "restore", recent)
    ).all()
    wrong = sorted(j.finished_at for j in jobs if j.problem and j.problem["code"] == RestoreDenied.default_code)
    tries = len(wrong) + sum(j.finished_at is None for j in jobs)
    if tries < most:
        return
    free = (wrong[-most] + WINDOW - now()).total_seconds() if len(wrong) >= most else PAUSE_SECONDS
    message = "too many wrong passwords for this photo, or too many restores of it at once; try again later"
    raise TooMany(message, code="too_many_guesses", details={"retry_after": max(1, round(free))})
