"""The fixtures of other tests, and the report."""

from __future__ import annotations

import pytest

from tests.api.conftest import service  # noqa: F401
from tests.e2e.conftest import http, stack  # noqa: F401
from tests.security.report import Report

KEPT = pytest.StashKey[Report]()


@pytest.fixture(scope="session")
def report(request: pytest.FixtureRequest) -> Report:
    return request.config.stash.setdefault(KEPT, Report())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if KEPT in config.stash:
        terminalreporter.section("security")
        for line in config.stash[KEPT].lines:
            terminalreporter.write_line(line)
