"""The bench, for all tests of the worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

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
from core.vault.shelf import Shelf
from tests.fakes import LightEngine, MemoryBlobs, picture
from tests.worker.bench import LOCK, Bench
from worker.context import Context


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    settings = Settings(database_url=f"sqlite:///{tmp_path / 's.db'}")
    database.upgrade(settings.database_url)
    engine = database.connect(settings.database_url)
    photos, keys = MemoryBlobs(), MemoryBlobs()
    shelf = Shelf(photos, keys, Keyring.open_or_create(tmp_path / "k.json"))
    heads = Heads(Audit(engine), MemoryBlobs(), shelf.keyring, settings.audit_head_seconds)
    context = Context(
        settings, Jobs(engine), Photos(engine), Receipts(engine), Webhooks(engine), shelf, LightEngine(), heads
    )
    job_id, photo_id, now = new_id("job"), new_id("pho"), database.now()
    shelf.put_upload("bank", job_id, picture().to_png())
    shelf.put_secret("bank", job_id, LOCK)
    request = {"method": "sider", "preset": "standard", "variants": 1, "seed": 1, "faces": "all"}
    job = Job(id=job_id, tenant="bank", kind="protect", state=State.queued, photo_id=photo_id, request=request,
              attempt=0, step="queued", progress=0.0, created_at=now)  # fmt: skip
    kept = Photo(id=photo_id, tenant="bank", method="sider", preset="standard", variants=1, created_at=now)
    context.jobs.add([job], [kept])
    yield Bench(context, job_id, photos, keys)
    engine.dispose()
