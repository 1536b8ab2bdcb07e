"""`python -m worker.health`: does a process of this machine or container give signs of life?

It does once its networks are loaded. Asks the job table, not Celery, whose parent answers while its process loads.
"""

from __future__ import annotations

import sys

from core.jobs import database
from core.jobs.workers import Workers, alive, identity
from core.settings import Settings


def healthy(settings: Settings) -> bool:
    """Whether one did just now."""
    engine = database.connect(settings.database_url)
    try:
        return any(alive(worker) for worker in Workers(engine).all() if worker.id.startswith(identity("")))
    finally:
        engine.dispose()


if __name__ == "__main__":
    sys.exit(not healthy(Settings()))
