"""Loads the networks once a process and offers the two things a job needs of the engine."""

from __future__ import annotations

from functools import cache
from typing import Protocol

from core import pipeline
from core.errors import ConfigurationError
from core.networks import Networks
from core.pipeline import Outcome, Progress, Request
from core.settings import Settings
from core.stages.validate import Photo


class Engine(Protocol):
    """What tasks call; tests bring a light one."""

    def protect(self, photo: Photo, request: Request, progress: Progress) -> Outcome: ...
    def restore(self, protected: Photo, packed: bytes) -> Photo: ...


class Loaded:
    """The real engine."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def protect(self, photo: Photo, request: Request, progress: Progress) -> Outcome:
        return pipeline.protect(photo, request, networks(self._settings), progress)

    def restore(self, protected: Photo, packed: bytes) -> Photo:
        return pipeline.restore(protected, packed)


class Unloaded:
    """For a worker's parent process, which sweeps and never computes."""

    def protect(self, photo: Photo, request: Request, progress: Progress) -> Outcome:
        raise ConfigurationError("this process does not compute")

    def restore(self, protected: Photo, packed: bytes) -> Photo:
        raise ConfigurationError("this process does not compute")


@cache
def networks(settings: Settings) -> Networks:
    """The process's networks."""
    return Networks.load(settings.bundle, settings.device)
