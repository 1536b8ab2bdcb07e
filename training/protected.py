"""Protected faces on disk, made once and kept; delete the folder after a change to the engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track
from torch import Tensor

from core import methods
from core.errors import NoFaceFound
from core.networks import Networks
from core.pipeline import Clock, make
from core.stages.align import align
from core.stages.validate import Photo
from training.portraits import Portrait

Pixels = NDArray[np.uint8]


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


def protect(name: str, preset: str, originals: list[Original], networks: Networks, folder: Path) -> list[Pixels | None]:
    """Protected photos in this order, from disk where they are there; None where no face was found."""
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
