"""The way of the data, there and back.

protect: photo -> align -> method (decouple, recompose, optimise) -> paste -> measure the promise -> restoration.
restore: protected photo + restoration -> original photo, bit for bit. It neither detects nor aligns.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any

import torch

from core import methods
from core.errors import PhotoRefused, PromiseNotMet, RestoreDenied
from core.looks import Age, Presenting
from core.networks import Networks
from core.stages.align import AlignedFaces, align, paste
from core.stages.measure import measure
from core.stages.optimise import Progress, Protected
from core.stages.sandbox import read_upload
from core.stages.validate import Limits, Photo
from core.vault.restoration import Pixels, Restoration, png_size

TRIES = 2  # seeds that are drawn for a photo whose promise is missed


@dataclass(frozen=True, slots=True)
class Request:
    """What a caller asks for. `seed` None draws one and keeps it secret; `faces` is "all" or "largest". Only some
    methods take a `presentation` or an `age` other than `keep`, or `personas`: a name for each face, largest first."""

    method: str = "sider"
    preset: str = "standard"
    variants: int = 1
    seed: int | None = None
    faces: str = "all"
    presentation: Presenting = Presenting.keep
    age: Age = Age.keep
    personas: tuple[str, ...] = ()

    @property
    def options(self) -> dict[str, Any]:
        """What is asked for beyond what every method takes."""
        return methods.asked(presentation=self.presentation, age=self.age, personas=self.personas)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Protected variants, what makes the original whole again, and the measured promise (JSON-ready)."""

    protected: tuple[Photo, ...]
    restoration: Restoration
    report: dict[str, Any]

    @property
    def held(self) -> bool:
        return bool(self.report["held"])


def protect(photo: Photo, request: Request, networks: Networks, progress: Progress) -> Outcome:
    """Protect a photo and insist on the promise.

    Raises:
        NoFaceFound: nothing to protect.
        RequestRefused: unknown method or preset, an option that the method does not take, or too many faces.
        PromiseNotMet: `details` holds the report; no picture is given out.
    """
    outcome = attempt(photo, request, networks, progress)
    if not outcome.held:
        raise PromiseNotMet(
            f"the {request.method} promise was not met; another preset or seed may do",
            details={"report": outcome.report},
        )
    return outcome


def attempt(photo: Photo, request: Request, networks: Networks, progress: Progress) -> Outcome:
    """As `protect`, but a missed promise is only reported (`Outcome.held`).

    Another seed often holds it: if none is asked for, another one is drawn.
    """
    methods.check(request.method, request.preset, request.options)
    method = methods.load(request.method)
    config = replace(method.PRESETS[request.preset], variants=request.variants, **request.options)
    clock = Clock(progress)
    with clock.step("align"):
        faces = align(photo, networks.detector, networks.device, request.faces)
    seeds = [secrets.randbits(63) for _ in range(TRIES)] if request.seed is None else [request.seed]
    for seed in seeds:
        made = make(faces, method, config, seed, networks, clock)
        if made.held:
            break
    report = {
        "method": request.method,
        "preset": request.preset,
        "presentation": request.presentation.value,
        "age": request.age.value,
        "seed": request.seed,  # one that was drawn is kept nowhere
        "bundle": networks.bundle,
        "promise": {
            "people_recognise": method.PROMISE.people_recognise,
            "machines_match": method.PROMISE.machines_match,
        },
        "held": made.held,
        "variants": made.measured,
        "optimiser_steps": made.protected.steps,
        "seconds": clock.seconds,
    }
    restoration = Restoration.of(photo.pixels, [p.pixels for p in made.photos], faces.boxes)
    progress("done", 1.0)
    return Outcome(made.photos, restoration, report)


@dataclass(frozen=True, slots=True)
class Made:
    """What a method made of the faces of a photo, variant by variant; `measured[variant][face]`."""

    protected: Protected
    photos: tuple[Photo, ...]
    measured: list[list[dict[str, Any]]]

    @property
    def held(self) -> bool:
        return all(face["held"] for faces in self.measured for face in faces)


def make(faces: AlignedFaces, method: methods.Method, config: Any, seed: int, networks: Networks, clock: Clock) -> Made:
    """Protect, paste and measure, with any configuration of a method."""
    faces = replace(faces, whole=method.PROMISE.people_recognise)
    with clock.step("protect"):
        generator = torch.Generator().manual_seed(seed)
        protected = method.protect(faces, networks, config, generator, clock.progress)
    with clock.step("paste"):
        photos = tuple(paste(faces, images) for images in protected.images)
    with clock.step("measure"):
        measured = [
            measure(faces, photo, networks, method.PROMISE, config.margin, start)
            for photo, start in zip_longest(photos, protected.starts)
        ]
    return Made(protected, photos, measured)


def restore(protected: Photo, packed: bytes) -> Photo:
    """The original photo, bit for bit.

    Raises:
        RestoreDenied: photo and restoration do not belong together, or either was altered.
        Unavailable: the process that decodes cannot be had.
    """
    return replace(protected, pixels=Restoration.unpack(packed).apply(protected.pixels, _read_box))


def _read_box(png: bytes) -> Pixels:
    """As `read_box`, at a distance: who may write to the bucket of keys need not have made it."""
    height, width = png_size(png)
    try:
        return read_upload(png, Limits(len(png), height * width, min_side=1)).pixels
    except PhotoRefused as error:
        raise RestoreDenied from error


@dataclass(slots=True)
class Clock:
    """Seconds by step, of all tries, for the report; announces each step as it begins."""

    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self.progress(name, 0.0)
        began = time.perf_counter()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - began, 3)
