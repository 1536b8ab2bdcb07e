"""MTCNN of facenet-pytorch: faces and five landmarks. Its weights are inside the package."""

from __future__ import annotations

import numpy as np
import torch
from facenet_pytorch import MTCNN
from numpy.typing import NDArray

CONFIDENCE = 0.95
SMALLEST = 32  # px
# facenet-pytorch counts pixels from 1, as the authors' Matlab does: measured against mirrored and enlarged photos, its
# landmarks lie 1.0 px right of and below what they mark, at any size.
FIRST_PIXEL = 1.0


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
