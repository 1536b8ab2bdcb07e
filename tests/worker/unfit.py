"""A real worker whose device fails at its first job: `celery --app tests.worker.unfit worker`.

With UNFIT_NETWORKS it has no networks; UNFIT_ONCE names a file that tells that the first job was.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from core.errors import ConfigurationError
from tests.fakes import LightEngine
from worker import engine
from worker.app import app


def fail_once() -> None:
    if not (once := Path(os.environ["UNFIT_ONCE"])).exists():
        once.write_text(str(os.getpid()), encoding="utf-8")
        raise engine.Unfit("AcceleratorError")


def networks(_: object) -> Any:
    if "UNFIT_NETWORKS" in os.environ:
        raise ConfigurationError("the bundle is not there")
    return SimpleNamespace(device=SimpleNamespace(type="cpu"), bundle="light")


engine.Loaded = lambda _: LightEngine(fail_once)  # type: ignore[assignment,misc]
engine.networks = networks  # type: ignore[assignment]
app.conf.include = [__name__]  # so the process of the jobs, which is spawned, does the same
