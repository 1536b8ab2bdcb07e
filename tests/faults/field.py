"""The service in the field: load from clients, faults on request, and what is written down about both."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Select, select

from api.parts import CeleryBroker
from benchmarks import report
from core.jobs import database
from core.jobs.photos import Photos
from core.jobs.repository import Jobs
from core.jobs.states import State
from core.jobs.tables import Job
from core.vault import shelf
from deploy import folder
from deploy.part import Part
from tests.faults.audit import Auditor
from tests.faults.load import PATIENCE_SECONDS, Client, Ledger
from tests.faults.stack import ORPHAN_SECONDS, FaultyStack

CLIENTS = 8
FLOW_SECONDS = 150.0


@dataclass(frozen=True)
class Incident:
    """A fault: when (s after the start), how long it lasted, how many jobs it met, how long until one succeeded, and
    how many parts had ended by themselves."""

    name: str
    at: float
    lasted: float
    in_flight: int
    recovered: float
    ended: int


class Field:
    """A context manager: clients come at the beginning, and leave at the end at the latest."""

    def __init__(self, stack: FaultyStack, disk: Path | None, jobs: int) -> None:
        self.stack, self.disk, self.wanted = stack, disk, jobs
        self.ledger, self.incidents, self._ended = Ledger(), list[Incident](), 0
        self.settings = folder.settings(stack.env())
        self.engine = database.connect(self.settings.database_url)
        self.jobs, self.broker = Jobs(self.engine), CeleryBroker(stack.broker_url)
        self._stop, self._began = threading.Event(), time.monotonic()
        self._clients = [Client(n, stack.api_url, stack.api_key, self.ledger, self._stop) for n in range(CLIENTS)]

    def __enter__(self) -> Field:
        for client in self._clients:
            client.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self.engine.dispose()

    def await_jobs(self, count: int) -> None:
        """Until so many were accepted."""
        while len(self.ledger.jobs) < count:
            self._supervise()
            time.sleep(0.1)

    def await_running(self) -> None:
        """Until a worker is in the middle of a job."""
        while not self._scalar(select(Job.id).where(Job.state == State.running, Job.step == "optimise").limit(1)):
            time.sleep(0.02)

    def note(self, name: str, began: float, in_flight: int) -> None:
        """The fault is over: write it down with the time until a job that was accepted afterwards has succeeded."""
        healed, query = time.monotonic(), select(Job.id).where(Job.state == State.succeeded).limit(1)
        query = query.where(Job.created_at > database.now())
        while self._scalar(query) is None:
            assert time.monotonic() - healed < FLOW_SECONDS, f"no job succeeds after {name}"
            self._supervise()
            time.sleep(0.1)
        recovered = time.monotonic() - healed
        self.incidents.append(Incident(name, began - self._began, healed - began, in_flight, recovered, self._ended))
        self._ended = 0

    def _supervise(self) -> None:
        """Start what has ended by itself, as every deployment does: Celery gives up on some errors of its broker."""
        for part in self.stack.parts:
            if part.ended():
                self._ended += 1
                self.stack.restart(part)

    def end(self) -> None:
        """Let the clients finish, and the sweepers clear what is due."""
        self._stop.set()
        deadline = time.monotonic() + PATIENCE_SECONDS
        for client in self._clients:
            client.join(max(0.0, deadline - time.monotonic()))
            if client.is_alive():
                self.ledger.broken.append(f"{client.name} still waits")
        uncleared = select(Job.id).where(Job.cleared_at.is_(None)).limit(1)
        settled = database.now() + timedelta(seconds=2 * ORPHAN_SECONDS)
        while database.now() < settled and (self.jobs.depth() or self._scalar(uncleared)):
            time.sleep(1)
        time.sleep(1.2 * ORPHAN_SECONDS)  # what is an orphan now is found by then

    def auditor(self) -> Auditor:
        return Auditor(self.jobs, Photos(self.engine), shelf.connect(self.settings), self.settings, self.ledger)

    def report(self, violations: list[str]) -> list[str]:
        """What happened, as paragraphs of Markdown."""
        states = Counter(
            f"{job.kind} {job.state}" + (f" ({job.problem['code']})" if job.problem else "")
            for job in self.jobs.page(None, None, 10**6)
        )
        facts = {
            "accepted jobs": str(len(self.ledger.jobs)),
            "kinds of fault": str(len(self.incidents)),
            "violations": "; ".join(violations) or "0",
            "seconds in all": f"{time.monotonic() - self._began:.0f}",
            "originals restored through the API and compared": str(self.ledger.restored),
            **{name: str(count) for name, count in sorted(states.items())},
            "answers": ", ".join(f"{name}: {count}" for name, count in self.ledger.answers.most_common()),
        }
        head = ["fault", "at, s", "lasted, s", "jobs in flight", "then until a job succeeded, s", "parts that ended"]
        rows = [
            [i.name, f"{i.at:.0f}", f"{i.lasted:.1f}", str(i.in_flight), f"{i.recovered:.1f}", str(i.ended)]
            for i in self.incidents
        ]
        return [report.bullets(facts), report.table(head, rows)]

    def kill(self, part: Part) -> None:
        """With kill -9, all of its processes."""
        assert part.process
        os.killpg(part.process.pid, signal.SIGKILL)
        part.process.wait()

    def child_of(self, part: Part) -> int:
        """The process of a worker that does the jobs."""
        assert part.process
        argv = ["pgrep", "-P", str(part.process.pid), "-f", "spawn_main"]
        return int(subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()[0])

    def _scalar(self, query: Select[Any]) -> Any:
        with self.engine.connect() as connection:
            return connection.execute(query).scalar()
