"""Loads the networks once a process and offers the two things a job needs of the engine.

torch is imported only where it computes: a worker's parent process, which takes messages and sweeps, starts in
seconds and stays small.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Protocol

import structlog

from core.cores import cores
from core.errors import SiderError, raised_at
from core.settings import Settings
from core.stages.validate import Photo

if TYPE_CHECKING:
    from core.networks import Networks
    from core.pipeline import Outcome, Request
    from core.stages.optimise import Progress


logger = structlog.get_logger(__name__)

# torch has types for some failures of a device, and for the others words.
DEVICE_FAILED = re.compile(r"CUDA|cuDNN|CUBLAS|NVIDIA driver|DefaultCPUAllocator")


class Unfit(Exception):
    """This process cannot do jobs, whatever their photos; another one may."""


def tell_operator(event: str, error: BaseException) -> None:
    """In the log, why this process cannot work: by our own words, or by kind and place, without a customer's data."""
    reason = str(error) if isinstance(error, SiderError) else raised_at(error)
    logger.critical(event, error=type(error).__name__, reason=reason)


class Engine(Protocol):
    """What tasks call; tests bring a light one."""

    def protect(self, photo: Photo, request: Request, progress: Progress) -> Outcome: ...
    def restore(self, protected: Photo, packed: bytes) -> Photo: ...


class Loaded:
    """The real engine."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def protect(self, photo: Photo, request: Request, progress: Progress) -> Outcome:
        from core import pipeline  # noqa: PLC0415

        with on_device():
            return pipeline.protect(photo, request, networks(self._settings), progress)

    def restore(self, protected: Photo, packed: bytes) -> Photo:
        from core import pipeline  # noqa: PLC0415

        return pipeline.restore(protected, packed)


@contextmanager
def on_device() -> Iterator[None]:
    """While a device computes (Unfit: it failed). After some errors of CUDA each call of the process fails."""
    import torch  # noqa: PLC0415

    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError | torch.AcceleratorError) or DEVICE_FAILED.search(str(error)):
            raise Unfit(type(error).__name__) from error
        raise


@cache
def networks(settings: Settings) -> Networks:
    """The process's networks, on no more threads than it has cores."""
    import torch  # noqa: PLC0415

    from core.networks import Networks  # noqa: PLC0415

    torch.set_num_threads(min(torch.get_num_threads(), cores()))
    return Networks.load(settings.bundle, settings.device, settings.licence_class)
