"""Every call of the API with what its description allows, and with what it does not, on the real service."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import LocalStack
from tests.security.report import Report

pytestmark = pytest.mark.security
CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "unsupported_method", "ensure_resource_availability", "use_after_free",
    "ignored_auth",
)  # fmt: skip


@pytest.fixture(scope="module")
def open_handed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """The service without limits of calls."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"SIDER_RATE_WRITES": "1000000/minute", "SIDER_RATE_READS": "1000000/minute"}.items():
            patch.setenv(name, value)
        with LocalStack(tmp_path_factory.mktemp("open")) as stack:
            yield stack


def test_it_keeps_to_its_description(open_handed: LocalStack, tmp_path: Path, report: Report) -> None:
    # Not as X-API-Key: beside that Authorization is for a restore's JWT, and not looked at elsewhere.
    key = f"Authorization: Bearer {open_handed.api_key}"
    argv = [
        str(Path(sys.executable).with_name("schemathesis")), "run", f"{open_handed.api_url}/openapi.json",
        "--header", key, "--checks", ",".join(CHECKS), "--max-examples", "30", "--max-time", "120", "--seed", "1",
        "--no-shrink", "--continue-on-failure", "--report", "json", "--report-json-path", str(tmp_path / "report.json"),
    ]  # fmt: skip
    env = os.environ | {"SCHEMATHESIS_HOOKS": "tests.security.hooks"}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    told = json.loads((tmp_path / "report.json").read_text())
    cases = told["test_cases"]
    operations = told["operations"]
    report.add("schemathesis", f"{operations['tested']} operations, {cases['generated']} cases, {len(CHECKS)} checks")
    assert operations["tested"] == operations["total"]
    assert done.returncode == 0, done.stdout[-20_000:]
