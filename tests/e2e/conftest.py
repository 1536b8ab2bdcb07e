"""One real stack for all end-to-end tests: Valkey, SeaweedFS, SQLite, worker, API; and a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from deploy.local import LocalStack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    with LocalStack(Path(tmp_path_factory.mktemp("stack"))) as running:
        yield running


@pytest.fixture
def http(stack: LocalStack) -> Iterator[httpx2.Client]:
    headers = {"Authorization": f"Bearer {stack.api_key}"}
    with httpx2.Client(base_url=stack.api_url, headers=headers, timeout=60) as client:
        yield client
