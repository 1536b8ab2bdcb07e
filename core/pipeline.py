"""The way of the data, there and back.

protect: photo -> align -> method (decouple, recompose, optimise) -> paste -> measure the promise -> restoration.
restore: protected photo + restoration -> original photo, bit for bit. It neither detects nor aligns.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from core import methods, objectives
from core.errors import NoFaceFound, PromiseNotMet, RequestRefused
from core.networks import Networks, warp
from core.stages.align import AlignedFaces, align, crop, find, paste, stored
from core.stages.decouple import cosines, decouple
from core.stages.optimise import Protected
from core.stages.recompose import RECOGNISABLE
from core.stages.validate import Photo
from core.vault.restoration import Restoration

Progress = Callable[[str, float], None]

MAX_FACES = 16  # of a photo, in one request


@dataclass(frozen=True, slots=True)
class Request:
    """What a caller asks for. `seed` None draws one; `faces` is "all" or "largest"."""

    method: str = "sider"
    preset: str = "standard"
    variants: int = 1
    seed: int | None = None
    faces: str = "all"


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
        RequestRefused: unknown method or preset, or more faces than MAX_FACES.
        PromiseNotMet: `details` holds the report; no picture is given out.
    """
    outcome = attempt(photo, request, networks, progress)
    if not outcome.held:
        raise PromiseNotMet(
            f"the {request.method} promise was not met; try another seed or the preset 'strong'",
            details={"report": outcome.report},
        )
    return outcome


def attempt(photo: Photo, request: Request, networks: Networks, progress: Progress) -> Outcome:
    """As `protect`, but a missed promise is only reported (`Outcome.held`)."""
    methods.check(request.method, request.preset)
    method = methods.load(request.method)
    seed = secrets.randbits(32) if request.seed is None else request.seed
    config = replace(method.PRESETS[request.preset], variants=request.variants)
    clock = Clock(progress)
    with clock.step("align"):
        faces = align(photo, networks.detector, networks.device, request.faces)
        if len(faces) > MAX_FACES:
            raise RequestRefused(f"{len(faces)} faces; at most {MAX_FACES}: send crops, or faces=largest")
    made = make(faces, method, config, seed, networks, clock)
    report = {
        "method": request.method,
        "preset": request.preset,
        "seed": seed,
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
    with clock.step("protect"):
        generator = torch.Generator().manual_seed(seed)
        protected = method.protect(faces, networks, config, generator, clock.progress)
    with clock.step("paste"):
        photos = tuple(paste(faces, images) for images in protected.images)
    with clock.step("measure"):
        measured = [measure(faces, photos[v], protected, v, networks, config.margin) for v in range(len(photos))]
    return Made(protected, photos, measured)


def restore(protected: Photo, packed: bytes) -> Photo:
    """The original photo, bit for bit.

    Raises:
        RestoreDenied: photo and restoration do not belong together, or either was altered.
    """
    return Photo(Restoration.unpack(packed).apply(protected.pixels))


@torch.no_grad()
def measure(
    faces: AlignedFaces, photo: Photo, protected: Protected, variant: int, networks: Networks, margin: float
) -> list[dict[str, Any]]:
    """The promise of every face, on the 8-bit pixels of the pasted photo.

    Identity is read twice: through the source's own crop, where surrogates must hold the margin, and through
    landmarks found again by the detector, as a stranger would, where the threshold at FAR 1e-3 must.
    """
    identity, appearance = decouple(faces, networks)
    seen = crop(photo, faces.matrices, faces.boxes)
    found = _found_again(faces, photo, networks)
    at_source = cosines(networks.encoders, seen, faces.landmarks, identity)[:, 0]
    at_found = cosines(networks.encoders, seen, found, identity)[:, 0]
    start = stored(faces, protected.starts[variant])
    shared = objectives.structure(seen, faces.images, appearance.masks)
    kept = objectives.structure(seen, start, appearance.masks)
    rows = []
    for b in range(len(faces)):
        encoders = {}
        for k, encoder in enumerate(networks.encoders):
            required = encoder.required(margin)
            cosine, again = float(at_source[k, b]), float(at_found[k, b])
            encoders[encoder.name] = {
                "role": encoder.role,
                "cosine": round(cosine, 4),
                "cosine_found_again": round(again, 4),
                "required": round(required, 4),
                "threshold_far_1e-2": encoder.thresholds[1e-2],
                "threshold_far_1e-3": encoder.thresholds[1e-3],
                "held": cosine >= required and again >= encoder.thresholds[1e-3],
            }
        rows.append(
            {
                "box": list(faces.boxes[b]),
                "persona": protected.personas[variant][b],
                "encoders": encoders,
                "distance_to_source": round(1 - float(shared[b]), 4),
                "distance_required": round(1 - RECOGNISABLE, 4),
                "distance_to_persona": round(1 - float(kept[b]), 4),
                "held": all(e["held"] for e in encoders.values()) and float(shared[b]) <= RECOGNISABLE,
            }
        )
    return rows


def _found_again(faces: AlignedFaces, photo: Photo, networks: Networks) -> torch.Tensor:
    """Landmarks of the protected faces as the detector finds them, in aligned px (B, 5, 2).

    A face that is not found keeps zeros: no encoder matches what it cannot align.
    """
    out = torch.zeros_like(faces.landmarks)
    try:
        marks = find(photo, networks.detector).to(faces.landmarks)
    except NoFaceFound:
        return out
    for b in range(len(faces)):
        local = warp.move(marks, faces.matrices[b : b + 1].expand(len(marks), -1, -1))
        off = (local - faces.landmarks[b]).abs().mean((1, 2))
        if float(off.min()) < 32:  # px of the aligned face: the same face, not its neighbour
            out[b] = local[int(off.argmin())]
    return out


@dataclass(slots=True)
class Clock:
    """Seconds by step, for the report; announces each step as it begins."""

    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self.progress(name, 0.0)
        began = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - began, 3)
