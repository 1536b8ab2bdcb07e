"""The parts a worker works with."""

from __future__ import annotations

from dataclasses import dataclass

from core.jobs.database import connect
from core.jobs.photos import Photos
from core.jobs.receipts import Receipts
from core.jobs.repository import Jobs
from core.jobs.webhooks import Webhooks
from core.settings import Settings
from core.vault import shelf
from core.vault.shelf import Shelf
from worker.engine import Engine


@dataclass(frozen=True, slots=True)
class Context:
    """Job table, objects, engine; tests put fakes here."""

    settings: Settings
    jobs: Jobs
    photos: Photos
    receipts: Receipts
    webhooks: Webhooks
    shelf: Shelf
    engine: Engine


def connect_context(settings: Settings, engine: Engine) -> Context:
    """Real parts of an environment."""
    database = connect(settings.database_url)
    return Context(
        settings=settings,
        jobs=Jobs(database),
        photos=Photos(database),
        receipts=Receipts(database),
        webhooks=Webhooks(database),
        shelf=shelf.connect(settings),
        engine=engine,
    )
