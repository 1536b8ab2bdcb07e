"""`make test-faults`: how much load, and the service under it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import postgres
from tests.faults.field import Field
from tests.faults.stack import FaultyStack, disk

KEPT = Path(".work")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--jobs", type=int, default=1000, help="fault tests: jobs to be accepted on each database")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def field(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    """The running service under load, with one database after the other."""
    folder: Path = tmp_path_factory.mktemp(request.param)
    with ExitStack() as parts:
        mounted = parts.enter_context(disk(folder))
        database = None
        if request.param == "postgresql":
            binaries = postgres.binaries()
            if binaries is None:
                pytest.skip("no PostgreSQL on this machine (initdb is not in the PATH)")
            database = parts.enter_context(postgres.server(binaries))
        stack = parts.enter_context(FaultyStack(folder / "data", database))
        parts.callback(_keep, stack.logs, KEPT / f"faults-{request.param}-logs")
        yield parts.enter_context(Field(stack, folder if mounted else None, request.config.getoption("--jobs")))


def _keep(logs: Path, kept: Path) -> None:
    """The small disk goes with the test; what the parts wrote is needed when a promise was broken."""
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(logs, kept)
