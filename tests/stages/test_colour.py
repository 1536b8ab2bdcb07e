"""Which photos have but one colour."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from core.stages.align import AlignedFaces
from core.stages.colour import luminance, monochrome
from core.stages.decouple import to_arrays

SEPIA = np.float32((1.05, 0.85, 0.62))


@pytest.fixture
def face(faces: AlignedFaces) -> NDArray[np.float32]:
    return to_arrays(faces.images)[0]


def stored(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """As a JPEG that halves the colours' resolution."""
    data = io.BytesIO()
    Image.fromarray((image.clip(0, 1) * 255).round().astype(np.uint8)).save(data, "JPEG", quality=75)
    with Image.open(data) as picture:
        return np.asarray(picture, np.float32) / 255


def test_black_and_white_and_sepia_photos_are(face: NDArray[np.float32]) -> None:
    grey = np.repeat(luminance(face)[..., None], 3, 2)
    flat = np.full_like(face, 0.3)
    for image in (grey, grey * SEPIA, stored(grey), stored(grey * SEPIA), flat, flat * SEPIA):
        assert monochrome(image)


def test_photos_in_colour_are_not_in_whatever_light(face: NDArray[np.float32]) -> None:
    for image in (face, stored(face), 0.1 * face, face * SEPIA, 0.6 + 0.4 * face):
        assert not monochrome(image)
