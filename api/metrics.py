"""What the database tells Prometheus: asked for when it is scraped, so that every API process answers the same."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import product

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from core import methods
from core.jobs.database import now
from core.jobs.states import State
from core.jobs.statistics import Observer
from core.jobs.workers import Workers, alive

CACHE_SECONDS = 5.0
KINDS = [("protect", name) for name in methods.names()] + [("restore", "")]


@dataclass(eq=False)
class Gauges(Collector):
    """Jobs on their way and workers. Without a database there is nothing to tell, which is no error of the scrape."""

    engine: Engine
    _told: list[Metric] = field(default_factory=list)
    _until: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def collect(self) -> Iterable[Metric]:
        with self._lock:
            if time.monotonic() >= self._until:
                try:
                    self._told = self._look()
                except SQLAlchemyError:
                    self._told = []
                self._until = time.monotonic() + CACHE_SECONDS
            return self._told

    def _look(self) -> list[Metric]:
        active, workers = Observer(self.engine).present(), Workers(self.engine).all()
        jobs = GaugeMetricFamily("sider_jobs", "Jobs on their way.", labels=["state", "kind", "method"])
        # Zeros, too: what scales or alerts by them must tell none from unknown.
        counts = {(str(state), *kind): 0 for state, kind in product((State.queued, State.running), KINDS)}
        counts |= {(found.state, found.kind, found.method): found.number for found in active}
        for labels, count in counts.items():
            jobs.add_metric(labels, count)
        ages = [(now() - found.oldest).total_seconds() for found in active if found.state == State.queued]
        age = max(ages, default=0.0)
        oldest = GaugeMetricFamily("sider_queue_oldest_age_seconds", "Age of the oldest queued job; 0: none.", age)
        living = sum(map(alive, workers))
        seen = GaugeMetricFamily("sider_workers", "Worker processes by their signs of life.", labels=["state"])
        for state, count in (("alive", living), ("silent", len(workers) - living)):
            seen.add_metric([state], count)
        return [jobs, oldest, seen]
