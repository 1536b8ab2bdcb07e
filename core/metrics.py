"""What Prometheus is told. Labels are few and known beforehand: no tenant, no id, nothing that a caller writes.

Each process tells its own story: it answers GET /metrics on a port of its own, and Prometheus adds up.
"""

from __future__ import annotations

import errno
from importlib.metadata import version

import structlog
from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    disable_created_metrics,
    start_http_server,
)
from prometheus_client.exposition import ThreadingWSGIServer
from prometheus_client.registry import Collector

PORTS = 16  # processes of one machine or container that may share the setting

disable_created_metrics()  # type: ignore[no-untyped-call] # a second sample for every counter, which Prometheus does not use

HTTP_SECONDS = Histogram(
    "sider_http_request_seconds", "Requests by route, as it is declared.", ["method", "route", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)  # fmt: skip
QUEUE_SECONDS = Histogram(
    "sider_queue_seconds", "From a job's acceptance to its first run.", ["kind"],
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600),
)  # fmt: skip
JOB_SECONDS = Histogram(
    "sider_job_seconds", "From a job's first run to its end.", ["kind", "method"],
    buckets=(0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 900),
)  # fmt: skip
STAGE_SECONDS = Histogram(
    "sider_engine_stage_seconds", "Stages of a run, those that failed included.", ["stage"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300),
)  # fmt: skip
JOBS_ENDED = Counter(
    "sider_jobs_ended", "Jobs by how they ended; code: of the problem, if any.", ["kind", "method", "state", "code"]
)
FACES = Counter("sider_faces", "Faces made and measured, of every variant.", ["method"])
PROMISES_MISSED = Counter("sider_promises_missed", "Those of sider_faces that missed the promise.", ["method"])
AUDIT_ENTRIES = Counter(
    "sider_audit_entries", "Entries of the audit log: restores, erasures, keys and so on.", ["event", "outcome"]
)
AUDIT_SIGNED = Gauge("sider_audit_head_timestamp_seconds", "When a stored head last covered the whole audit log.")
WEBHOOKS = Counter("sider_webhook_attempts", "Attempts to deliver a webhook: delivered, failed, given_up.", ["outcome"])
ERRORS = Counter("sider_errors", "Calls that store, broker or database did not answer.", ["part", "operation"])
SWEEPS_FAILED = Counter("sider_sweeps_failed", "Rounds of a worker's duty that an error ended.", ["sweeper"])
DEVICE_USED = Gauge("sider_device_memory_used_bytes", "Memory of an accelerator in use, by whomever.", ["device"])
DEVICE_TOTAL = Gauge("sider_device_memory_bytes", "Memory of an accelerator.", ["device"])
for _outcome in ("delivered", "failed", "given_up"):
    WEBHOOKS.labels(_outcome)  # from 0 on, or nobody would see the first increase
Info("sider_build", "This release.").info({"version": version("sider")})

logger = structlog.get_logger(__name__)


def serve(host: str, port: int | None, *collectors: Collector) -> None:
    """Answer GET /metrics in a thread, on the first port from `port` on that no other process has.

    Raises:
        OSError: the host is none of this machine's, or the port may not be used.
    """
    if port is None:
        return
    registry = CollectorRegistry()
    for collector in (REGISTRY, *collectors):
        registry.register(collector)
    ThreadingWSGIServer.allow_reuse_port = False  # or newer Pythons would let two processes have the same one
    for number in range(port, port + PORTS):
        try:
            start_http_server(number, host, registry)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            logger.info("metrics_served", port=number)
            return
    logger.error("metrics_not_served", reason=f"ports {port} to {port + PORTS - 1} are taken")
