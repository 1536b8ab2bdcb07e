"""A worker process tells that it lives, on what, and what it is doing."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import version

import torch

from core import metrics
from core.jobs.database import now
from core.jobs.tables import Worker
from core.jobs.workers import Workers, identity
from core.networks import Networks


class Presence:
    """The signs of life of this process."""

    def __init__(self, workers: Workers, networks: Callable[[], Networks]) -> None:
        self._workers, self._networks = workers, networks
        self._started: datetime = now()
        self._job_id: str | None = None

    @contextmanager
    def busy(self, job_id: str) -> Iterator[None]:
        """While this job is being done."""
        self._job_id = job_id
        try:
            yield
        finally:
            self._job_id = None

    def beat(self) -> None:
        """One sign of life."""
        networks = self._networks()
        device, cuda = networks.device, networks.device.type == "cuda"
        name = torch.cuda.get_device_name(device) if cuda else device.type
        if cuda:
            free, total = torch.cuda.mem_get_info(device)
            metrics.DEVICE_USED.labels(name).set(total - free)
            metrics.DEVICE_TOTAL.labels(name).set(total)
        self._workers.beat(
            Worker(
                id=identity(os.getpid()),
                version=version("sider"),
                device=name,
                bundle=networks.bundle[:80],
                memory_bytes=_peak_memory(),
                device_bytes=torch.cuda.max_memory_reserved(device) if cuda else None,
                job_id=self._job_id,
                started_at=self._started,
                seen_at=now(),
            )
        )


def _peak_memory() -> int:
    """The most this process has had resident, bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
