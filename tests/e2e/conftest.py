"""One real stack for all end-to-end tests: Valkey, SeaweedFS, SQLite, worker, API; and visitors of its pages."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser

from core.stages.validate import Photo
from deploy.local import LocalStack
from tests.e2e.browser import DESK, Visitor, chromium


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    with LocalStack(Path(tmp_path_factory.mktemp("stack"))) as running:
        yield running


def finished(http: httpx2.Client, accepted: httpx2.Response) -> dict[str, Any]:
    """The job when it has ended."""
    assert accepted.status_code == 202, accepted.text
    for _ in range(240):
        job: dict[str, Any] = http.get(accepted.headers["location"]).json()
        if job["state"] not in ("queued", "running"):
            return job
        time.sleep(0.5)
    raise AssertionError(f"the job did not end: {job}")


@pytest.fixture
def http(stack: LocalStack) -> Iterator[httpx2.Client]:
    headers = {"Authorization": f"Bearer {stack.api_key}"}
    with httpx2.Client(base_url=stack.api_url, headers=headers, timeout=60) as client:
        yield client


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def visitor(browser: Browser, stack: LocalStack) -> Iterator[Visitor]:
    context = browser.new_context(viewport=DESK, reduced_motion="reduce", accept_downloads=True)
    someone = Visitor(context.new_page(), stack.api_url)
    yield someone
    context.close()
    someone.check()


@pytest.fixture(scope="session")
def photo(astronaut: Photo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "astronaut.png"
    path.write_bytes(astronaut.to_png())
    return path
