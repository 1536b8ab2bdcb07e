"""What attackers own, and what they are tried on: protected once by each state of the engine, and kept."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.progress import track
from torch import Tensor

from benchmarks.strangers import Pairs, Pixels, to_photo
from core import methods
from core.errors import NoFaceFound
from core.networks import Networks
from core.networks.bundle import MANIFEST, PACKAGED
from core.pipeline import Clock, make
from core.stages.align import align
from core.stages.validate import Photo
from training import portraits
from training.portraits import Portrait

FOLDER = Path(".work/attacks")
# Added to the seeds of photos b and of what attackers own, so that no draw is shared.
LINKED, OWNED = 1000, 10_000


@dataclass(frozen=True, slots=True)
class Original:
    """A photo, as `name` on disk. pixels: uint8 (256, 256, 3). marks: (5, 2) px."""

    name: str
    pixels: Pixels
    marks: Tensor
    seed: int

    @classmethod
    def of(cls, portrait: Portrait, name: str, seed: int) -> Original:
        return cls(name, portrait.pixels(), torch.tensor(portrait.landmarks, dtype=torch.float32), seed)


def owned(count: int) -> list[Original]:
    """What an attacker protects; once there are no more people, their portraits again, under other secrets."""
    people = islice(cycle(portraits.people()), count)
    return [Original.of(row, f"own-{n:04d}", OWNED + n) for n, row in enumerate(people)]


def tested(data: Pairs, photo: str) -> list[Original]:
    """Photos "a" or "b" of the development pairs."""
    images, marks = (data.a, data.marks_a) if photo == "a" else (data.b, data.marks_b)
    shift = 0 if photo == "a" else LINKED
    return [
        Original(f"test-{number:03d}{photo}", to_photo(image).pixels, mark, number + shift)
        for number, image, mark in zip(data.numbers, images, marks, strict=True)
    ]


def folder_of(name: str, preset: str, networks: Networks) -> Path:
    """Where protected faces of a preset are kept."""
    return FOLDER / f"{name}-{preset}-{digest(methods.load(name).PRESETS[preset], networks)}"


def digest(config: Any, networks: Networks, manifest: Path = PACKAGED / MANIFEST) -> str:
    """Of everything that could change a picture, so that no stale one is ever counted. manifest: of the bundle, which
    has all its weights' sums."""
    encoders = ",".join(e.name for e in networks.encoders)
    what = f"{config}{networks.bundle}{encoders}".encode() + _engine(manifest)
    return hashlib.sha256(what).hexdigest()[:8]


@cache
def _engine(manifest: Path) -> bytes:
    """Code and weights, read once: an edit while a run is on its way does not tear it in two."""
    return b"".join(p.read_bytes() for p in (*sorted(Path("core").rglob("*.py")), manifest))


def protect(name: str, preset: str, originals: list[Original], networks: Networks) -> list[Pixels | None]:
    """Protected photos in this order, from disk where they are there; None where no face was found."""
    folder = folder_of(name, preset, networks)
    folder.mkdir(parents=True, exist_ok=True)
    missing = [o for o in originals if not any((folder / f"{o.name}{end}").is_file() for end in (".png", ".none"))]
    for original in track(missing, f"{name}, {preset}", disable=not missing):
        try:
            Image.fromarray(_protected(name, preset, original, networks)).save(folder / f"{original.name}.png")
        except NoFaceFound:
            (folder / f"{original.name}.none").touch()
    paths = [folder / f"{o.name}.png" for o in originals]
    return [np.asarray(Image.open(path)) if path.is_file() else None for path in paths]


def _protected(name: str, preset: str, original: Original, networks: Networks) -> Pixels:
    method = methods.load(name)
    faces = align(Photo(original.pixels), networks.detector, networks.device, "largest")
    made = make(faces, method, method.PRESETS[preset], original.seed, networks, Clock(lambda *_: None))
    return made.photos[0].pixels
