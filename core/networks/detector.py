"""MTCNN of facenet-pytorch: faces and five landmarks. Its weights are inside the package (Zhang et al. 2016)."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from facenet_pytorch import MTCNN
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from core.networks import warp

CONFIDENCE = 0.95
SMALLEST = 32  # px
# facenet-pytorch counts pixels from 1, as the authors' Matlab does: measured against mirrored and enlarged photos, its
# landmarks lie 1.0 px right of and below what they mark, at any size.
FIRST_PIXEL = 1.0
# The square that its last network looks at, px, where landmarks are in it, and how much that varies from view to view:
# size (logarithm), angle and place, standard deviations.
WINDOW = 48
PLACES = ((0.332, 0.39), (0.668, 0.39), (0.5, 0.60), (0.348, 0.75), (0.652, 0.75))
VIEWS, SIZES, ANGLES, SHIFTS = 32, 0.08, 0.08, 0.04


class Detector:
    """uint8 RGB pixels -> landmarks; the three stages run as the authors published them."""

    def __init__(self, device: torch.device) -> None:
        self._mtcnn = MTCNN(keep_all=True, min_face_size=SMALLEST, post_process=False, device=device)

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Landmarks (N, 5, 2) of all faces, px from the centre of the first pixel: eyes, nose, mouth corners, left to
        right as seen."""
        if min(pixels.shape[:2]) < SMALLEST:
            return np.zeros((0, 5, 2))
        with torch.no_grad():
            _, confidences, landmarks = self._mtcnn.detect(pixels, landmarks=True)
        if landmarks is None or confidences[0] is None:
            return np.zeros((0, 5, 2))
        sure = np.asarray(confidences, float) >= CONFIDENCE
        return np.asarray(landmarks, float)[sure] - FIRST_PIXEL

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


@cache
def _views() -> Float[Tensor, "views 5 2"]:
    """Where the landmarks are in each view, px; always the same ones."""
    chance = torch.Generator().manual_seed(0)
    angle, size = torch.randn(VIEWS, generator=chance) * ANGLES, torch.randn(VIEWS, generator=chance) * SIZES
    cos, sin = size.exp() * angle.cos(), size.exp() * angle.sin()
    linear = torch.stack((cos, -sin, sin, cos), -1).view(VIEWS, 2, 2)
    shift = 0.5 + torch.randn(VIEWS, 1, 2, generator=chance) * SHIFTS
    return ((torch.tensor(PLACES) - 0.5) @ linear.mT + shift) * WINDOW - 0.5
