"""What attackers own, and what they are tried on. Protected faces are made once and kept, in .work/attacks/
<method>-<preset>/: delete the folder after a change to the engine."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.progress import track
from torch import Tensor

from benchmarks.strangers import Pairs, Pixels
from core import methods
from core.errors import NoFaceFound
from core.networks import Networks
from core.pipeline import Clock, make
from core.stages.align import align
from core.stages.validate import Photo
from training import portraits
from training.portraits import Portrait

FOLDER = Path(".work/attacks")
LINKED = 1000  # added to the seed of photo b, so that no draw is shared with photo a


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
    return [Original.of(row, f"own-{n:04d}", n) for n, row in enumerate(people)]


def tested(data: Pairs, photo: str) -> list[Original]:
    """Photos "a" or "b" of the development pairs."""
    images, marks = (data.a, data.marks_a) if photo == "a" else (data.b, data.marks_b)
    shift = 0 if photo == "a" else LINKED
    return [
        Original(f"test-{number:03d}{photo}", image.permute(1, 2, 0).numpy().copy(), mark, number + shift)
        for number, image, mark in zip(data.numbers, images, marks, strict=True)
    ]


def protect(name: str, preset: str, originals: list[Original], networks: Networks) -> list[Pixels | None]:
    """Protected photos in this order, from disk where they are there; None where no face was found."""
    folder = FOLDER / f"{name}-{preset}"
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
