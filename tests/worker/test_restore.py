"""Restores of photos that were let in under other limits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.jobs import database
from core.jobs.repository import new_id
from core.jobs.states import State
from core.jobs.tables import Job
from tests.fakes import picture
from tests.worker.bench import LOCK, Bench


@pytest.mark.parametrize("uploaded", [False, True])
def test_what_was_let_in_is_restored_but_no_upload_is_larger_than_allowed(bench: Bench, uploaded: bool) -> None:
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
    settings = bench.context.settings.model_copy(update={"max_pixels": 100})
    done = replace(bench, context=replace(bench.context, settings=settings), job_id=job_id).run()
    if uploaded:
        assert (done.state, done.problem and done.problem["code"]) == (State.failed, "photo_too_large")
    else:
        assert (done.state, done.result and done.result["sha256"]) == (State.succeeded, picture().sha256)
