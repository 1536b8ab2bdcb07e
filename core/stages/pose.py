"""Turn a face to the side, by the depth that faces have in general."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.floating[Any]]  # (n, 2)
Numbers = NDArray[np.floating[Any]]  # (n,)

# A head as half an ellipsoid with a nose on it, in a frame with its origin between the eyes: x to the picture's right,
# y down, z towards the viewer, in inter-ocular distances of the frontal face. Usual proportions, not fitted.
HEAD, CENTRE = (1.30, 1.75, 1.20), 0.35  # half axes, and how far its centre is below the eyes
STEEPEST = 0.92  # share of a half axis: further out the head stays as far back as there
NOSE, BREADTH, TIP, BRIDGE, LIP = 0.40, 0.14, 0.62, 0.30, 0.16  # height; y of its tip; standard deviations x, up, down
ITERATIONS = 12
FURTHEST = 0.6  # radians: beyond it a generic nose hides the cheek


def depth(face: Points) -> Numbers:
    """z of points of a frontal face, relative to its eyes."""
    x, y = face.T
    nose = NOSE * np.exp(-np.square(x / BREADTH) / 2 - np.square((y - TIP) / np.where(y < TIP, BRIDGE, LIP)) / 2)
    return np.asarray(_head(face) + nose - _head(np.array([[0.5, 0.0]])))


def _head(face: Points) -> Numbers:
    x, y = face.T
    a, b, c = HEAD
    out = np.square(x / a) + np.square((y - CENTRE) / b)
    return np.asarray(c * np.sqrt(1 - np.minimum(out, STEEPEST**2)))


@dataclass(frozen=True, slots=True)
class Pose:
    """Where a face is in a picture and how it is turned. eyes: their middle, px. across: from the left eye to the
    right, px, as long as in the frontal face. angle: radians, positive to the picture's right."""

    eyes: Points
    across: Points
    angle: float

    @classmethod
    def of(cls, landmarks: Points) -> Pose:
        """Read off five landmarks: how far off the nose is."""
        left, right, nose = landmarks[:3]
        eyes, across = (left + right) / 2, right - left
        off = (nose - eyes) @ across / (across @ across)
        angle = np.arctan(off / depth(np.array([[0.0, TIP]])).item())
        angle = float(np.clip(angle, -FURTHEST, FURTHEST))
        return cls(eyes, across / np.cos(angle), angle)

    def turned(self, angle: float) -> Pose:
        """The same face, otherwise turned."""
        return Pose(self.eyes, self.across, angle)

    def project(self, face: Points) -> Points:
        """Points of the frontal face in the picture, px."""
        x, y = face.T
        seen = np.stack((x * np.cos(self.angle) + depth(face) * np.sin(self.angle), y), 1)
        return np.asarray(self.eyes + seen @ self._axes)

    def unproject(self, points: Points) -> Points:
        """Points of the picture on the frontal face; where several are seen at one, behind a nose, one of them."""
        seen, y = ((points - self.eyes) @ self._axes.T / (self.across @ self.across)).T
        x = seen / np.cos(self.angle)
        for _ in range(ITERATIONS):  # x cos + z(x) sin = seen; by halves, because noses are steep
            back = depth(np.stack((x, y), 1)) * np.sin(self.angle)
            x = (x + (seen - back) / np.cos(self.angle)) / 2
        return np.stack((x, y), 1)

    @property
    def _axes(self) -> Points:
        return np.array((self.across, (-self.across[1], self.across[0])))
