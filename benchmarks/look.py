"""A judge of look that is no recognition network: edges and colours of brows, eyes, nose and mouth.

Pictures must show faces in the same geometry, as `compose` makes them: then what is left to differ is what is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

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
LINE_UP = 16  # people
COLOUR = 40.0  # CIELAB distance that counts as much as edges that have nothing in common
Face = NDArray[np.float32]  # RGB in [0, 1] (256, 256, 3)
Marks = NDArray[np.float32]  # (5, 2) px
NOBODY = Traits(0.0, 0.0, (0.0, 0.0, 0.0), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def worn_by(source: Face, landmarks: Marks, image: NDArray[np.uint8], own: Marks) -> Face:
    """The source with the interior of another photo (landmarks `own`), in the source's geometry and light."""
    setting = Setting.of(source, landmarks, fringe(source, landmarks))
    return next(compose(setting, Persona("", image, own, NOBODY)))


@dataclass(frozen=True, slots=True)
class Look:
    """Edges (histograms of oriented gradients, unit length) and mean colour (CIELAB) of a face by region."""

    edges: dict[str, NDArray[np.float64]]
    colours: dict[str, NDArray[np.float64]]

    @classmethod
    def of(cls, face: Face) -> Look:
        parts = {name: face[t:d, left:r] for name, (t, d, left, r) in REGIONS.items()}
        edges = {name: hog(x, 8, (CELL, CELL), (2, 2), channel_axis=-1) for name, x in parts.items()}
        units = {name: e / max(np.linalg.norm(e), 1e-9) for name, e in edges.items()}
        return cls(units, {name: rgb2lab(x).mean((0, 1)) for name, x in parts.items()})

    def distances(self, other: Look) -> dict[str, float]:
        """By region, and their mean as "face"; 0 is the same."""
        edges = {name: 1 - float(own @ other.edges[name]) for name, own in self.edges.items()}
        colours = {name: float(np.linalg.norm(own - other.colours[name])) for name, own in self.colours.items()}
        rows = {name: edges[name] + colours[name] / COLOUR for name in edges}
        return rows | {"face": float(np.mean(list(rows.values())))}


def people(data: Pairs) -> int:
    """In a line-up: as many as there are, at most LINE_UP."""
    return min(LINE_UP, len(data))


def line_up(data: Pairs, i: int) -> list[Look]:
    """Photo `a` of pair `i` with the interiors of `people` photos `b`; the first is the person's own."""
    source, marks = np.asarray(data.a[i].permute(1, 2, 0).numpy() / 255, np.float32), data.marks_a[i].numpy()
    rows = [(i + k * (len(data) // people(data))) % len(data) for k in range(people(data))]
    worn = (worn_by(source, marks, data.b[j].permute(1, 2, 0).numpy(), data.marks_b[j].numpy()) for j in rows)
    return [Look.of(face) for face in worn]


def picked(seen: Look, line: list[Look]) -> dict[str, bool]:
    """By region: is the first of a line-up the nearest?"""
    far = [seen.distances(other) for other in line]
    return {region: min(far, key=lambda d: d[region]) is far[0] for region in far[0]}
