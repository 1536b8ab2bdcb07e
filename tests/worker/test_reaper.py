"""What the reaper ends, clears, sends again and deletes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from core.errors import NoFaceFound
from core.jobs import database
from core.jobs.audit import Entry
from core.jobs.erasure import Eraser
from core.jobs.keys import ApiKeys
from core.jobs.retries import PAUSES, Fault
from core.jobs.states import State
from core.jobs.tables import Delivery, Job, Receipt
from core.jobs.webhooks import delivery_of
from tests.worker.bench import LOCK, Bench, lapsed, late, long_ago
from worker.orphans import Orphans
from worker.reaper import Reaper


def test_the_reaper_ends_a_job_that_kills_its_workers(bench: Bench) -> None:
    reaper = Reaper(bench.context, lambda job_id: None)
    for _ in range(len(PAUSES[Fault.poison]) + 1):
        assert bench.context.jobs.claim(bench.job_id, 60) is not None
        lapsed(bench)
        reaper.sweep()
    job = bench.context.jobs.get(bench.job_id)
    assert (job.state, job.problem and job.problem["code"]) == (State.failed, "poisoned")
    assert bench.photos.objects  # its last worker might still be there
    long_ago(bench)
    reaper.sweep()
    assert not bench.photos.objects
    assert not bench.keys.objects


def test_what_could_not_be_cleared_is_cleared_later(bench: Bench) -> None:
    def lose_the_store() -> None:
        bench.keys.down = bench.photos.down = True
        raise NoFaceFound("no face")

    job = bench.run(lose_the_store)
    assert (job.state, job.cleared_at) == (State.failed, None)
    bench.keys.down = bench.photos.down = False
    long_ago(bench)
    Reaper(bench.context, lambda job_id: None).sweep()
    assert bench.context.jobs.get(bench.job_id).cleared_at is not None
    assert not bench.photos.objects
    assert not bench.keys.objects


def test_the_reaper_waits_for_a_lost_store_once_a_round(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        job = Job(id=f"job_{number}", tenant="bank", kind="protect", state=State.queued, request={"variants": 1},
                  photo_id=bench.context.jobs.get(bench.job_id).photo_id, created_at=database.now())  # fmt: skip
        bench.context.jobs.add([job])
        bench.context.jobs.cancel(f"job_{number}")
    bench.keys.down = bench.photos.down = True
    Reaper(bench.context, lambda job_id: None).sweep()
    assert "".join(capfd.readouterr()).count("clearing_postponed") == 1
    bench.keys.down = bench.photos.down = False
    Reaper(bench.context, lambda job_id: None).sweep()
    assert bench.context.jobs.uncleared(grace_seconds=0) == []


@pytest.mark.parametrize("asked", ["count", "publish"])
def test_a_lost_broker_holds_up_no_other_duty(bench: Bench, asked: str) -> None:
    def lost(*_: object) -> bool:
        raise ConnectionError

    bench.context.jobs.cancel(bench.job_id)
    waiting = Job(id="job_2", tenant="bank", kind="protect", state=State.queued, request={"variants": 1},
                  photo_id=bench.context.jobs.get(bench.job_id).photo_id,
                  created_at=database.now() - timedelta(seconds=60))  # fmt: skip
    bench.context.jobs.add([waiting])
    reaper = Reaper(bench.context, lost, lost if asked == "count" else lambda: False)  # type: ignore[arg-type]
    with pytest.raises(ConnectionError):
        reaper.sweep()
    assert bench.context.jobs.unpublished() == ["job_2"]
    assert not bench.photos.objects
    assert not bench.keys.objects


def test_a_late_job_in_the_queue_is_ended_and_cleared_by_the_reaper(bench: Bench) -> None:
    late(bench)
    assert bench.run().state == State.queued  # not even begun
    Reaper(bench.context, lambda job_id: None).sweep()
    job = bench.context.jobs.get(bench.job_id)
    assert (job.state, job.problem and job.problem["code"]) == (State.expired, "job_expired")
    assert not bench.photos.objects
    assert not bench.keys.objects


@pytest.mark.parametrize(("empty", "seconds", "lost"), [(False, 11, False), (True, 11, True), (False, 301, True)])
def test_a_queue_has_lost_what_was_sent_long_ago_and_an_empty_one_what_was_sent_a_while_ago(
    bench: Bench, empty: bool, seconds: int, lost: bool
) -> None:
    sent: list[str] = []
    with bench.context.jobs.engine.begin() as connection:
        connection.execute(update(Job).values(created_at=database.now() - timedelta(seconds=60)))
        connection.execute(update(Job).values(published_at=database.now() - timedelta(seconds=seconds)))
    Reaper(bench.context, sent.append, lambda: empty).sweep()
    assert sent == [bench.job_id] * lost


def test_receipts_and_deliveries_that_are_over_are_forgotten(bench: Bench) -> None:
    context, long_since = bench.context, database.now() - timedelta(days=31)
    context.receipts.reserve("rec_1", "fingerprint")
    with Session(context.jobs.engine) as session, session.begin():
        session.add(delivery_of(context.jobs.get(bench.job_id), "https://bank.example/hooks?token=1"))
        session.execute(update(Receipt).values(created_at=long_since))
        session.execute(update(Delivery).values(created_at=long_since, due_at=None))
    Reaper(context, lambda job_id: None).sweep()
    with context.jobs.engine.connect() as connection:
        assert [connection.scalar(select(func.count()).select_from(of)) for of in (Receipt, Delivery)] == [0, 0]


def test_what_no_job_was_made_for_is_deleted_in_time(bench: Bench) -> None:
    ApiKeys(bench.context.jobs.engine).issue("bank", ("protect",))
    shelf = bench.context.shelf
    shelf.put_upload("bank", "job_lost", b"photo")
    shelf.put_secret("bank", "job_lost", LOCK)
    shelf.put_restored("bank", "job_forgotten", b"original")
    bench.run()
    made = set(bench.photos.objects) | set(bench.keys.objects)
    Orphans(bench.context).sweep()
    assert set(bench.photos.objects) | set(bench.keys.objects) == made  # its request may be under way
    Orphans(bench.under(orphan_seconds=0).context).sweep()
    assert made - set(bench.photos.objects) - set(bench.keys.objects) == {
        "bank/incoming/job_lost",
        "bank/restored/job_forgotten.png",
        "bank/secrets/job_lost",
    }


def test_what_an_erasure_leaves_undone_is_done_later(bench: Bench) -> None:
    """A worker that has read the upload succeeds during the first round, and the second one never comes."""
    context = bench.context
    photo = context.photos.get(context.jobs.get(bench.job_id).photo_id, "bank")
    eraser = Eraser(context.jobs, context.photos, context.shelf, context.heads.audit)
    ended = bench.run(lambda: eraser._destroy(photo))  # type: ignore[arg-type,return-value]
    assert ended.state == State.succeeded
    context.photos.mark_erased(photo.id, Entry("erase", "succeeded", "key:1", "bank", photo.id))
    assert any("restoration" in key for key in bench.keys.objects)
    long_ago(bench)
    Reaper(context, lambda job_id: None).sweep()
    assert not bench.keys.objects
    assert not bench.photos.objects


def test_what_waits_for_its_job_is_no_orphan(bench: Bench) -> None:
    ApiKeys(bench.context.jobs.engine).issue("bank", ("protect",))
    Orphans(bench.under(orphan_seconds=0).context).sweep()
    assert bench.run().state == State.succeeded


def test_the_reaper_publishes_what_was_never_sent(bench: Bench) -> None:
    sent: list[str] = []
    reaper = Reaper(bench.context, sent.append)
    with bench.context.jobs.engine.begin() as connection:
        connection.execute(update(Job).values(created_at=database.now() - timedelta(seconds=60)))
    reaper.sweep()
    reaper.sweep()
    assert sent == [bench.job_id]


def test_of_two_reapers_one_sends_what_was_never_sent(bench: Bench) -> None:
    sent: list[str] = []

    def meanwhile(job_id: str) -> None:
        Reaper(bench.context, sent.append).sweep()
        sent.append(job_id)

    with bench.context.jobs.engine.begin() as connection:
        connection.execute(update(Job).values(created_at=database.now() - timedelta(seconds=60)))
    Reaper(bench.context, meanwhile).sweep()
    assert sent == [bench.job_id]
