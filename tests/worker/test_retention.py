"""What was kept long enough goes, the key first, and the audit log has the receipt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from core.errors import NotFound, Unavailable
from core.jobs import database
from core.jobs.audit import Audit
from core.jobs.heads import Heads
from core.jobs.photos import Photos
from core.jobs.receipts import Receipts
from core.jobs.repository import Jobs, new_id
from core.jobs.states import State
from core.jobs.tables import Job, Photo
from core.jobs.webhooks import Webhooks
from core.settings import Settings
from core.vault.keyring import Keyring
from core.vault.passwords import KdfCost, lock
from core.vault.shelf import Shelf, protected_key, restored_key
from tests.fakes import LightEngine, MemoryBlobs
from worker.context import Context
from worker.retention import Retention

LOCK = lock("correct horse", KdfCost(1, 64, 1))


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    settings = Settings(database_url=f"sqlite:///{tmp_path / 's.db'}", retention_days=30, restored_seconds=600)
    database.upgrade(settings.database_url)
    engine = database.connect(settings.database_url)
    shelf = Shelf(MemoryBlobs(), MemoryBlobs(), Keyring.open_or_create(tmp_path / "k.json"))
    heads = Heads(Audit(engine), MemoryBlobs(), shelf.keyring, seconds=60)
    yield Context(
        settings, Jobs(engine), Photos(engine), Receipts(engine), Webhooks(engine), shelf, LightEngine(), heads
    )
    engine.dispose()


def restored(context: Context, days_old: float) -> Job:
    """A photo that came so long ago and was restored a day later."""
    job_id, photo_id, made = new_id("job"), new_id("pho"), database.now() - timedelta(days=days_old)
    photo = Photo(id=photo_id, tenant="bank", method="sider", preset="standard", variants=2, created_at=made)
    job = Job(id=job_id, tenant="bank", kind="restore", state=State.queued, photo_id=photo_id,
              request={"variants": 2}, created_at=made)  # fmt: skip
    context.jobs.add([job], [photo])
    context.jobs.claim(job_id, 60)
    context.jobs.finish(job_id, 1, {}, {"report": {"held": True}, "protected_at": made})
    change(context, update(Job).where(Job.id == job_id).values(finished_at=made + timedelta(days=1)))
    context.shelf.put_restoration("bank", photo_id, b"pixels", LOCK)
    for number in (1, 2):
        context.shelf.put_protected("bank", photo_id, number, b"picture")
    context.shelf.put_restored("bank", job_id, b"original")
    return context.jobs.get(job_id)


def change(context: Context, statement: Any) -> None:
    with context.jobs.engine.begin() as connection:
        connection.execute(statement)


def told(context: Context, photo_id: str) -> list[tuple[str, str, Any]]:
    entries = context.heads.audit.latest(99, subject=photo_id)
    return [(e.event, e.outcome, e.details.get("retention_days")) for e in entries][2:]  # after the restore itself


def test_old_photos_go_and_young_ones_stay(context: Context) -> None:
    old, young = restored(context, 31), restored(context, 29)
    Retention(context).sweep()
    Retention(context).sweep()
    with pytest.raises(NotFound):
        context.photos.get(old.photo_id, "bank")
    assert context.photos.get(young.photo_id, "bank").report == {"held": True}
    assert list(context.shelf.keys.names()) == [f"bank/restoration/{young.photo_id}"]
    assert list(context.shelf.photos.names()) == [protected_key("bank", young.photo_id, n) for n in (1, 2)]
    erased = [("link", "withdrawn", None), ("erase", "accepted", 30), ("erase", "succeeded", 30)]
    assert told(context, old.photo_id) == erased
    assert told(context, young.photo_id) == erased[:1]


def test_without_a_policy_photos_stay(context: Context) -> None:
    job = restored(context, 9999)
    Retention(replace(context, settings=context.settings.model_copy(update={"retention_days": None}))).sweep()
    assert context.photos.get(job.photo_id, "bank").erased_at is None
    assert context.shelf.get_restoration("bank", job.photo_id, LOCK.key) == b"pixels"


def test_a_restored_original_goes_and_its_link_is_not_given_any_more(context: Context) -> None:
    late, fresh = restored(context, 2), restored(context, 2)
    change(context, update(Job).where(Job.id == fresh.id).values(finished_at=database.now()))
    Retention(context).sweep()
    names = set(context.shelf.photos.names())
    assert restored_key("bank", late.id) not in names
    assert restored_key("bank", fresh.id) in names
    assert not context.jobs.give_link(late, "key:1")
    assert context.jobs.give_link(fresh, "key:1")


def test_an_original_that_could_not_be_deleted_is_deleted_later(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = restored(context, 2)
    with monkeypatch.context() as broken:
        broken.setattr(context.shelf.photos, "delete", away)
        with pytest.raises(Unavailable):
            Retention(context).sweep()
    assert context.jobs.get(job.id).withdrawn_at is None
    Retention(context).sweep()
    assert restored_key("bank", job.id) not in context.shelf.photos.names()


def overdue(context: Context) -> Job:
    """The restore of a photo that is kept too long, whose restored original is gone."""
    job = restored(context, 31)
    context.jobs.mark_withdrawn(job)
    return job


def away(*_: object) -> None:
    raise Unavailable("the store went away")


@pytest.mark.parametrize("kind", ["photos", "keys"])
def test_the_key_goes_first_and_a_lost_store_is_tried_again(
    context: Context, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    job = overdue(context)
    with monkeypatch.context() as broken:
        broken.setattr(getattr(context.shelf, kind), "delete", away)
        with pytest.raises(Unavailable):
            Retention(context).sweep()
    assert list(context.shelf.keys.names()) == ([] if kind == "photos" else [f"bank/restoration/{job.photo_id}"])
    assert context.photos.get(job.photo_id, "bank").erased_at is None
    Retention(context).sweep()
    assert not list(context.shelf.keys.names())
    assert not list(context.shelf.photos.names())


@pytest.mark.parametrize("kind", ["photos", "keys"])
def test_a_store_that_is_away_is_not_told_to_the_log_again_and_again(
    context: Context, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    job = overdue(context)
    monkeypatch.setattr(getattr(context.shelf, kind), "down", True)
    for _ in range(3):
        with pytest.raises(Unavailable):
            Retention(context).sweep()
    assert "erase" not in {event for event, _, _ in told(context, job.photo_id)}


def test_what_another_worker_has_erased_since_is_not_erased_again(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = overdue(context)
    over = context.photos.made_before(database.now(), 9)
    Retention(context).sweep()
    monkeypatch.setattr(Photos, "made_before", lambda *_: over)
    Retention(context).sweep()
    assert [outcome for event, outcome, _ in told(context, job.photo_id) if event == "erase"] == [
        "accepted", "succeeded",
    ]  # fmt: skip


def test_two_workers_write_one_receipt(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    job = restored(context, 31)
    drop: Callable[..., None] = Shelf.drop_restoration

    def overtaken(self: Shelf, tenant: str, photo_id: str) -> None:
        monkeypatch.setattr(Shelf, "drop_restoration", drop)
        Retention(context).sweep()
        drop(self, tenant, photo_id)

    monkeypatch.setattr(Shelf, "drop_restoration", overtaken)
    Retention(context).sweep()
    assert [outcome for event, outcome, _ in told(context, job.photo_id) if event == "erase"].count("succeeded") == 1
