"""Restores in a worker: of photos that were let in under other limits, and of those whose lease is lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.jobs import database
from core.jobs.repository import new_id
from core.jobs.states import State
from core.jobs.tables import Job
from core.stages.validate import read_photo
from tests import profiles
from tests.fakes import picture
from tests.worker.bench import LOCK, Bench, overtaken


def restoring(bench: Bench, uploaded: bool = False) -> Bench:
    """With a queued restore of the photo, which was protected before."""
    first = bench.run()
    assert first.photo_id
    job_id, shelf = new_id("job"), bench.context.shelf
    if uploaded:
        shelf.put_upload("bank", job_id, shelf.get_protected("bank", f"{first.photo_id}.1", 1))
    shelf.put_secret("bank", job_id, LOCK)
    request = {"reason": "dispute 4711", "subject": None, "uploaded": uploaded, "locked": True}
    job = Job(id=job_id, tenant="bank", kind="restore", state=State.queued, photo_id=first.photo_id, request=request,
              attempt=0, step="queued", progress=0.0, created_at=database.now())  # fmt: skip
    bench.context.jobs.add([job])
    return replace(bench, job_id=job_id)


@pytest.mark.parametrize("uploaded", [False, True])
def test_what_was_let_in_is_restored_but_no_upload_is_larger_than_allowed(bench: Bench, uploaded: bool) -> None:
    done = restoring(bench, uploaded).under(max_pixels=100).run()
    if uploaded:
        assert (done.state, done.problem and done.problem["code"]) == (State.failed, "photo_too_large")
    else:
        assert (done.state, done.result and done.result["sha256"]) == (State.succeeded, picture().sha256)


@pytest.mark.parametrize("uploaded", [False, True])
def test_a_colour_profile_is_in_what_was_protected_and_in_what_is_restored(bench: Bench, uploaded: bool) -> None:
    bench.context.shelf.put_upload("bank", bench.job_id, replace(picture(), profile=profiles.SWAPPED).to_png())
    done = restoring(bench, uploaded).run()
    assert done.state == State.succeeded
    shelf = bench.context.shelf
    protected = read_photo(shelf.get_protected("bank", f"{done.photo_id}.1", 1))
    restored = read_photo(shelf.get_restored("bank", done.id))
    assert (protected.profile, restored.profile) == (profiles.SWAPPED, profiles.SWAPPED)
    assert (protected.sha256 == picture().sha256, restored.sha256) == (False, picture().sha256)


def test_no_photo_is_protected_that_is_larger_than_allowed_by_now(bench: Bench) -> None:
    done = bench.under(max_pixels=100).run()
    assert (done.state, done.problem and done.problem["code"]) == (State.failed, "photo_too_large")


def test_a_restore_that_lost_its_lease_stores_nothing(bench: Bench) -> None:
    waiting = restoring(bench)
    before = dict(bench.photos.objects)
    job = waiting.run(lambda: overtaken(waiting))
    assert (job.state, job.attempt, bench.photos.objects) == (State.running, 2, before)
