"""docker-compose.yml as Docker Compose itself reads it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.image import ROOT


def services(*profiles: str, folder: Path = ROOT, **environment: str) -> dict[str, Any]:
    """The services of these profiles, with all that is interpolated, merged and defaulted."""
    compose = pytest.importorskip("compose", reason="Docker Compose is packaged for Linux on x86-64 only")
    argv = [Path(compose.__file__).with_name("docker-compose"), *(f"--profile={name}" for name in profiles)]
    done = subprocess.run(
        [*argv, "config", "--format", "json"],
        cwd=folder, env={"PATH": os.environ["PATH"]} | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)["services"]
    return found
