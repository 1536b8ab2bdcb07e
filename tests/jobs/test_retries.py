"""How long what the service needs may be away."""

from __future__ import annotations

from itertools import count, takewhile

from core.jobs.retries import Fault, pause


def test_a_job_outlasts_four_minutes_without_a_store() -> None:
    pauses = takewhile(lambda wait: wait is not None, (pause(Fault.transient, runs) for runs in count(1)))
    assert sum(wait or 0 for wait in pauses) >= 240
