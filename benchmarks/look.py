"""A judge of look that is no recognition network: edges and colours of brows, eyes, nose and mouth.

Pictures must show faces in the same geometry, as `compose` makes them: then what is left to differ is what is drawn.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb2lab
from skimage.feature import hog

from benchmarks.strangers import Pairs
from core.networks import Persona
from core.networks.personas import Traits
from core.stages.compose import Setting, compose
from core.stages.decouple import fringe

# (top, bottom, left, right) px of an aligned face.
REGIONS = {
    "brows": (82, 110, 64, 192),
    "eyes": (106, 134, 64, 192),
    "nose": (126, 174, 96, 160),
    "mouth": (170, 210, 84, 172),
}
CELL = 8  # px
COLOUR = 40.0  # CIELAB distance that counts as much as edges that have nothing in common
Face = NDArray[np.float32]  # RGB in [0, 1] (256, 256, 3)
Marks = NDArray[np.float32]  # (5, 2) px
NOBODY = Traits(0.0, (0.0, 0.0, 0.0), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def worn_by(source: Face, landmarks: Marks, image: NDArray[np.uint8], own: Marks) -> Face:
    """The source with the interior of another photo (landmarks `own`), in the source's geometry and light."""
    setting = Setting.of(source, landmarks, fringe(source, landmarks))
    return next(compose(setting, Persona("", image, own, NOBODY)))


def line_up(data: Pairs, i: int, people: int) -> list[Face]:
    """Photo `a` of pair `i` with the interiors of so many people's photos `b`; the first is the person's own."""
    source, marks = np.asarray(data.a[i].permute(1, 2, 0).numpy() / 255, np.float32), data.marks_a[i].numpy()
    rows = [(i + k * max(1, len(data) // people)) % len(data) for k in range(people)]
    return [worn_by(source, marks, data.b[j].permute(1, 2, 0).numpy(), data.marks_b[j].numpy()) for j in rows]


def distances(a: Face, b: Face) -> dict[str, float]:
    """Distance by region, and their mean as "face"; 0 is the same."""
    rows = {name: _distance(a[t:d, left:r], b[t:d, left:r]) for name, (t, d, left, r) in REGIONS.items()}
    return rows | {"face": float(np.mean(list(rows.values())))}


def _distance(a: Face, b: Face) -> float:
    edges = [hog(x, 8, (CELL, CELL), (2, 2), channel_axis=-1) for x in (a, b)]
    apart = 1 - float(edges[0] @ edges[1] / max(np.linalg.norm(edges[0]) * np.linalg.norm(edges[1]), 1e-9))
    colour = float(np.linalg.norm(np.subtract(*(rgb2lab(x).mean((0, 1)) for x in (a, b)))))
    return apart + colour / COLOUR
