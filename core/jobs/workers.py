"""Which workers there are, by their own signs of life."""

from __future__ import annotations

import os
from datetime import timedelta

from sqlalchemy import Engine, delete, select
from sqlalchemy.orm import Session

from core.jobs.database import now
from core.jobs.tables import Worker

ALIVE = timedelta(seconds=15)  # without a sign for longer: gone, or cut off
FORGET = timedelta(hours=1)


class Workers:
    """The table of worker processes."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def beat(self, worker: Worker) -> None:
        """A sign of life; forgets those that gave none for long."""
        with Session(self.engine) as session, session.begin():
            session.merge(worker)
            session.execute(delete(Worker).where(Worker.seen_at < now() - FORGET))

    def all(self) -> list[Worker]:
        """Those seen in the last hour, newest first."""
        with Session(self.engine, expire_on_commit=False) as session:
            return list(session.scalars(select(Worker).order_by(Worker.started_at.desc())))


def identity(pid: int | str) -> str:
    """Names a worker process of this machine or container."""
    return f"{os.uname().nodename[:64]}/{pid}"


def alive(worker: Worker) -> bool:
    """Whether it was seen just now."""
    return worker.seen_at > now() - ALIVE
