"""The parts a worker works with."""

from __future__ import annotations

from dataclasses import dataclass

from core.jobs.audit import Audit
from core.jobs.database import connect
from core.jobs.heads import Heads
from core.jobs.photos import Photos
from core.jobs.receipts import Receipts
from core.jobs.repository import Jobs
from core.jobs.webhooks import Webhooks
from core.settings import Settings
from core.vault.shelf import Shelf, bucket
from core.vault.shelf import connect as connect_shelf
from worker.engine import Engine


@dataclass(frozen=True, slots=True)
class Context:
    """Job table, objects, engine, heads of the audit log; tests put fakes here."""

    settings: Settings
    jobs: Jobs
    photos: Photos
    receipts: Receipts
    webhooks: Webhooks
    shelf: Shelf
    engine: Engine
    heads: Heads


def connect_context(settings: Settings, engine: Engine) -> Context:
    """Real parts of an environment."""
    database = connect(settings.database_url)
    shelf = connect_shelf(settings)
    store = bucket(settings, settings.bucket_audit)
    return Context(
        settings=settings,
        jobs=Jobs(database),
        photos=Photos(database),
        receipts=Receipts(database),
        webhooks=Webhooks(database),
        shelf=shelf,
        engine=engine,
        heads=Heads(Audit(database), store, shelf.keyring, settings.audit_head_seconds),
    )
