"""Metrics of real processes: each on a port of its own, and together the whole truth."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from core import metrics
from core.jobs import database
from core.stages.validate import Photo
from core.vault.keyring import Keyring
from deploy.local import LocalStack
from tests.e2e.conftest import finished
from tests.fakes import picture

pytestmark = pytest.mark.e2e


def scraped(port: int) -> list[str]:
    """What every process tells that shares a setting."""
    found = []
    with httpx2.Client(timeout=10) as http:
        for number in range(port, port + metrics.PORTS):
            try:
                answer = http.get(f"http://127.0.0.1:{number}/metrics")
            except httpx2.TransportError:
                continue
            if "sider_build_info" in answer.text:  # no other server's
                found.append(answer.text)
    return found


def scrape(port: int, processes: int) -> list[list[Sample]]:
    """The samples of so many processes, when all of them answer."""
    deadline = time.monotonic() + 60
    while len(told := scraped(port)) < processes and time.monotonic() < deadline:
        time.sleep(0.2)
    assert len(told) == processes
    return [[s for family in text_string_to_metric_families(text) for s in family.samples] for text in told]


def total(processes: list[list[Sample]], name: str, **labels: str) -> float:
    """As `sum()` has it."""
    wanted = labels.items()
    return sum(s.value for samples in processes for s in samples if s.name == name and wanted <= s.labels.items())


def test_api_and_both_processes_of_the_worker_tell_of_a_job(
    stack: LocalStack, http: httpx2.Client, astronaut: Photo
) -> None:
    port = stack.ports["metrics"]

    def protected(photo: bytes) -> str:
        form = {"password": "correct horse", "preset": "natural"}
        answer = http.post("/protect", data=form, files={"photo": ("a.png", photo)})
        return str(finished(http, answer)["state"])

    # The worker does one job at a time: what another test has left to it is over when this one is.
    assert protected(picture().to_png()) == "failed"
    before = scrape(port, 3)
    assert protected(astronaut.to_png()) == "succeeded"
    after = scrape(port, 3)

    def grown(name: str, **labels: str) -> float:
        return total(after, name, **labels) - total(before, name, **labels)

    assert grown("sider_jobs_ended_total", kind="protect", method="sider", state="succeeded") == 1
    assert grown("sider_http_request_seconds_count", method="POST", route="/protect", status="202") == 1
    assert grown("sider_faces_total", method="sider") == 1
    for stage in ("fetch", "align", "protect", "optimise", "paste", "measure", "store"):
        assert grown("sider_engine_stage_seconds_count", stage=stage) == 1
    assert total(after, "sider_workers", state="alive") == 1
    assert total(after, "sider_audit_head_timestamp_seconds") > time.time() - 600


@contextmanager
def api_of_two(tmp_path: Path, metrics_port: int) -> Iterator[str]:
    """An API of two processes, which answers."""
    url = f"sqlite:///{tmp_path / 's.db'}"
    database.upgrade(url)
    Keyring.open_or_create(tmp_path / "k.json")
    env = {"SIDER_DATABASE_URL": url, "SIDER_KEYRING_FILE": str(tmp_path / "k.json")}
    with socket.create_server(("127.0.0.1", 0)) as ours:
        argv = [sys.executable, "-m", "uvicorn", "--factory", "api.app:create_app", "--workers", "2"]
        process = subprocess.Popen(
            [*argv, "--fd", str(ours.fileno())], env=os.environ | env | {"SIDER_METRICS_PORT": str(metrics_port)},
            pass_fds=[ours.fileno()], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        address = f"http://127.0.0.1:{ours.getsockname()[1]}"
    try:
        assert httpx2.get(f"{address}/health/live", timeout=60).status_code == 200
        yield address
    finally:
        process.terminate()
        process.wait(30)


def test_an_api_of_several_processes_is_counted_as_a_whole(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:  # has the first port: ours take the next ones
        port = stranger.getsockname()[1]
        with api_of_two(tmp_path, port) as url:
            before = scrape(port + 1, 2)
            # Each over a connection of its own, so that either process gets some.
            with httpx2.Client(base_url=url, headers={"Connection": "close"}) as http:
                for _ in range(40):
                    http.get("/health/live")
            name, labels = "sider_http_request_seconds_count", {"route": "/health/live"}
            assert total(scrape(port + 1, 2), name, **labels) - total(before, name, **labels) == 40
