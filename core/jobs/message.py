"""The message that tells the workers of a job.

Its first argument is the job's id, for good: whatever else a later release may send, a worker that does not know its
version can leave the job to those that do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kombu.exceptions import OperationalError
from redis import RedisError

from core import metrics

TASK, QUEUE = "sider.run", "sider"
HEADER = "version"
# Of messages and of jobs' requests: raised when a worker of the release before could not do what this one accepts.
VERSION = 2
BROKER_ERRORS = (OperationalError, RedisError, OSError)


def message(job_id: str) -> dict[str, Any]:
    """What `Celery.send_task` takes."""
    return {"name": TASK, "args": [job_id], "queue": QUEUE, "headers": {HEADER: VERSION}, "ignore_result": True}


@contextmanager
def asking(operation: str) -> Iterator[None]:
    """While the broker is asked; what it does not answer is counted."""
    try:
        yield
    except BROKER_ERRORS:
        metrics.ERRORS.labels("broker", operation).inc()
        raise
