"""The real worker with an engine that takes a moment: `celery --app tests.faults.worker worker`."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from core.stages.validate import Photo
from tests.fakes import LightEngine
from worker import engine
from worker.app import app

pause = threading.Event()  # `time.sleep` fails under libfaketime (EINVAL), which the clock faults use


class Paced(LightEngine):
    """Long enough to be hit in the middle; some for longer than the second after which a worker writes its step."""

    def protect(self, photo: Photo, request: Any, progress: Callable[[str, float], None]) -> Any:
        longest = 0.6 if random.random() < 0.1 else 0.03
        for step in range(10):
            pause.wait(random.uniform(0, longest))
            progress("optimise", step / 10)
        return super().protect(photo, request, progress)


engine.Loaded = lambda _: Paced()  # type: ignore[assignment,misc]
_device = SimpleNamespace(type="cpu")
engine.networks = lambda _: SimpleNamespace(device=_device, bundle="light")  # type: ignore[assignment,return-value]
app.conf.include = [__name__]  # so the process of the jobs, which is spawned, does the same
