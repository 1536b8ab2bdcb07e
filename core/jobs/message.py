"""The message that tells the workers of a job.

Its first argument is the job's id, for good: whatever else a later release may send, a worker that does not know its
version can leave the job to those that do.
"""

from __future__ import annotations

from typing import Any

TASK, QUEUE = "sider.run", "sider"
HEADER = "version"
# Of messages and of jobs' requests: raised when a worker of the release before could not do what this one accepts.
VERSION = 1


def message(job_id: str) -> dict[str, Any]:
    """What `Celery.send_task` takes."""
    return {"name": TASK, "args": [job_id], "queue": QUEUE, "headers": {HEADER: VERSION}, "ignore_result": True}
