"""Which failures of the engine are a photo's, and which the device's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from core import pipeline
from core.pipeline import Request
from core.settings import Settings
from tests.fakes import picture
from worker import engine
from worker.engine import Loaded, Unfit

OF_DEVICE = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    torch.AcceleratorError("an illegal memory access was encountered"),
    RuntimeError("CUDA error: device-side assert triggered"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("Found no NVIDIA driver on your system."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
]
OF_PHOTO = [RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"), ValueError("CUDA")]


@pytest.mark.parametrize("error", OF_DEVICE + OF_PHOTO, ids=str)
def test_a_device_that_failed_makes_the_process_unfit(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(engine, "networks", lambda _: SimpleNamespace())
    monkeypatch.setattr(pipeline, "protect", fail)
    with pytest.raises(Unfit if error in OF_DEVICE else type(error)):
        Loaded(Settings()).protect(picture(), Request(), lambda *_: None)
