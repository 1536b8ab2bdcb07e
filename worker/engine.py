"""Loads the networks once a process and offers the two things a job needs of the engine.

torch is imported only where it computes: a worker's parent process, which takes messages and sweeps, starts in
seconds and stays small.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Protocol

from core.settings import Settings
from core.stages.validate import Photo

if TYPE_CHECKING:
    from core.networks import Networks
    from core.pipeline import Outcome, Progress, Request


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

        return pipeline.protect(photo, request, networks(self._settings), progress)

    def restore(self, protected: Photo, packed: bytes) -> Photo:
        from core import pipeline  # noqa: PLC0415

        return pipeline.restore(protected, packed)


@cache
def networks(settings: Settings) -> Networks:
    """The process's networks."""
    from core.networks import Networks  # noqa: PLC0415

    return Networks.load(settings.bundle, settings.device, settings.licence_class)
