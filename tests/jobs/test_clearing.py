"""What an ended job leaves is owed until it was deleted as the job is now."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from core.jobs.audit import Entry
from core.jobs.photos import Photos
from core.jobs.repository import Jobs
from tests.jobs.rows import add


@pytest.mark.parametrize("erased", [False, True])
def test_what_a_worker_left_in_place_is_owed_if_the_photo_was_erased_meanwhile(engine: Engine, erased: bool) -> None:
    """The worker keeps key and pictures of a success; whoever erases may end before they are deleted."""
    jobs = Jobs(engine)
    job_id = add(jobs)
    jobs.claim(job_id, 60)
    jobs.finish(job_id, 1, {"report": {}})
    seen = jobs.get(job_id)
    if erased:
        Photos(engine).mark_erased(seen.photo_id, Entry("erase", "succeeded", "key:1", seen.tenant, seen.photo_id))
    jobs.mark_cleared(seen)
    assert [job.id for job in jobs.uncleared(grace_seconds=0)] == [job_id] * erased
    jobs.mark_cleared(jobs.get(job_id))
    assert jobs.uncleared(grace_seconds=0) == []
