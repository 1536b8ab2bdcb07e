"""MTCNN of facenet-pytorch: faces and five landmarks. Its weights are inside the package (Zhang et al. 2016)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from facenet_pytorch import MTCNN
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from core.networks import warp

CONFIDENCE = 0.95
SMALLEST = 32  # px
QUARTERS = (1, 2, 3)  # of a turn, by which faces may lie on their side or stand on their head
TURNED_SIDE = 640  # px of the photo in which these are looked for, at most: a fourth of the time
TURNED_CONFIDENCE = 0.99  # so sure the detector must be of them
# Distances of the eyes within which two faces that are not turned alike are one: of the smaller, and inside the larger.
NEARBY, INSIDE = 1.75, 0.9
# facenet-pytorch counts pixels from 1, as the authors' Matlab does: measured against mirrored and enlarged photos, its
# landmarks lie 1.0 px right of and below what they mark, at any size.
FIRST_PIXEL = 1.0
# The square that its last network looks at, px, where landmarks are in it, and how much that varies from view to view:
# size (logarithm), angle and place, standard deviations.
WINDOW = 48
PLACES = ((0.332, 0.39), (0.668, 0.39), (0.5, 0.60), (0.348, 0.75), (0.652, 0.75))
VIEWS, SIZES, ANGLES, SHIFTS = 32, 0.08, 0.08, 0.04


@dataclass(frozen=True, slots=True)
class Found:
    """A face: its landmarks (5, 2), px, how sure it is, and by how many quarters it is turned to the right."""

    landmarks: NDArray[np.float64]
    confidence: float
    quarter: int

    @property
    def span(self) -> float:
        """Between the eyes, px."""
        return float(np.linalg.norm(self.landmarks[1] - self.landmarks[0]))

    def outranks(self, other: Found) -> bool:
        """Whether the other one is this face, seen the wrong way up: of two that are about as large that of which the
        detector is less sure, else the smaller, which is a part of a face."""
        small, large = sorted((self.span, other.span))
        away = float(np.linalg.norm(self.landmarks.mean(0) - other.landmarks.mean(0)))
        if self.quarter == other.quarter or away >= max(NEARBY * small, INSIDE * large):
            return False
        return self.confidence > other.confidence if large < 2 * small else self.span > other.span


class Detector:
    """uint8 RGB pixels -> landmarks; the three stages run as the authors published them."""

    def __init__(self, device: torch.device) -> None:
        self._mtcnn = MTCNN(keep_all=True, min_face_size=SMALLEST, post_process=False, device=device)

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Landmarks (N, 5, 2) of all faces, whichever way they are turned, px from the centre of the first pixel: eyes,
        nose, mouth corners, left to right as seen with the face upright."""
        faces = self._upright(pixels, 0, CONFIDENCE)
        k = -(-max(pixels.shape[:2]) // TURNED_SIDE)
        small = np.asarray(Image.fromarray(pixels).reduce(k))
        for quarter in QUARTERS:
            for face in self._upright(np.ascontiguousarray(np.rot90(small, quarter)), quarter, TURNED_CONFIDENCE):
                marks = _turned_back(face.landmarks, quarter, *small.shape[:2])
                faces.append(replace(face, landmarks=(marks + 0.5) * k - 0.5))
        found = [face for face in faces if not any(other.outranks(face) for other in faces)]
        return np.stack([face.landmarks for face in found]) if found else np.zeros((0, 5, 2))

    @torch.no_grad()
    def _upright(self, pixels: NDArray[np.uint8], quarter: int, least: float) -> list[Found]:
        """Faces that are upright in these pixels, and at least so sure."""
        if min(pixels.shape[:2]) < SMALLEST:
            return []
        _, confidences, landmarks = self._mtcnn.detect(pixels, landmarks=True)
        if landmarks is None or confidences[0] is None:
            return []
        rows = zip(np.asarray(landmarks, float) - FIRST_PIXEL, map(float, confidences), strict=True)
        return [Found(marks, confidence, quarter) for marks, confidence in rows if confidence >= least]

    @torch.no_grad()
    def refine(self, images: Float[Tensor, "b 3 H W"], landmarks: Float[Tensor, "b 5 2"]) -> Float[Tensor, "b 5 2"]:
        """Landmarks px found again in VIEWS views of each face, half of them mirrored: the median.

        What one detection says of a photo and of its mirror image differs by 3.7 % of the distance of the eyes, what
        this says by 0.7 %, and a mask, a persona and every crop are laid out by it.
        """
        return torch.cat([self._refine_one(i[None], m[None]) for i, m in zip(images, landmarks, strict=True)])

    def _refine_one(self, image: Float[Tensor, "1 3 H W"], landmarks: Float[Tensor, "1 5 2"]) -> Float[Tensor, "1 5 2"]:
        targets = _views().to(image)
        matrices = warp.similarity(landmarks.expand(VIEWS, -1, -1), targets)
        views = warp.sample(image.expand(VIEWS, -1, -1, -1), matrices, (WINDOW, WINDOW), padding="border")
        views[1::2] = views[1::2].flip(-1)
        _, places, _ = self._mtcnn.onet((views * 255 - 127.5) / 128)
        found = torch.stack((places[:, :5], places[:, 5:]), -1) * WINDOW - 0.5
        found[1::2, :, 0] = WINDOW - 1 - found[1::2, :, 0]
        found[1::2] = found[1::2, [1, 0, 2, 4, 3]]
        return warp.move(found, warp.invert(matrices)).median(0, keepdim=True).values


def _turned_back(points: NDArray[np.float64], quarter: int, height: int, width: int) -> NDArray[np.float64]:
    """Where points of `np.rot90(picture, quarter)` are in the picture, px."""
    x, y = points[:, 0], points[:, 1]
    places = (x, y), (width - 1 - y, x), (width - 1 - x, height - 1 - y), (y, height - 1 - x)
    return np.stack(places[quarter], 1)


@cache
def _views() -> Float[Tensor, "views 5 2"]:
    """Where the landmarks are in each view, px; always the same ones."""
    chance = torch.Generator().manual_seed(0)
    angle, size = torch.randn(VIEWS, generator=chance) * ANGLES, torch.randn(VIEWS, generator=chance) * SIZES
    cos, sin = size.exp() * angle.cos(), size.exp() * angle.sin()
    linear = torch.stack((cos, -sin, sin, cos), -1).view(VIEWS, 2, 2)
    shift = 0.5 + torch.randn(VIEWS, 1, 2, generator=chance) * SHIFTS
    return ((torch.tensor(PLACES) - 0.5) @ linear.mT + shift) * WINDOW - 0.5
