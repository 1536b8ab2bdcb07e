"""CIELAB of pixels and back, and what the channels of pictures have in common."""

from __future__ import annotations

from functools import reduce

import numpy as np
from numpy.typing import NDArray
from skimage.color import lab2rgb, rgb2lab

from core.objectives import LUMA

# How far the colours of a picture may be from one at each lightness, as a share of how much its lightness varies: of
# black-and-white and sepia photos, stored as JPEG, up to .054, of 524 in colour .075 and more.
MONOCHROME = 0.06
YELLOWEST = 200 / 116  # b by (lightness + 16) from which on there is no such colour


def to_lab(pixels: NDArray[np.floating]) -> NDArray[np.floating]:
    """CIELAB of RGB in [0, 1], both (n, 3)."""
    return np.asarray(rgb2lab(pixels[None])[0])


def to_rgb(lab: NDArray[np.floating]) -> NDArray[np.floating]:
    """RGB in [0, 1] of CIELAB, both (n, 3); of what does not exist, less yellow and then clipped."""
    bluer = np.minimum(lab[:, 2], YELLOWEST * (lab[:, 0] + 16) - 1e-3)  # on the edge rounding may cross it
    return np.asarray(lab2rgb(np.column_stack((lab[:, :2], bluer))[None])[0])


def over_channels(operation: np.ufunc, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """np.add, np.maximum or the like over the channels of an image (h, w, c): channel by channel, because along so
    short an axis numpy takes ten times as long."""
    first, *others = np.moveaxis(image, -1, 0)
    return np.asarray(reduce(operation, others, first))


def grey(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of the channels of an image (h, w, 3)."""
    return np.asarray(over_channels(np.add, image) / np.float32(3))


def luminance(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """`objectives.luminance` of an image (h, w, 3)."""
    return np.asarray(image @ np.asarray(LUMA, np.float32))


def monochrome(image: NDArray[np.float32]) -> bool:
    """Whether an image (h, w, 3), RGB in [0, 1], has one colour at each lightness, as black-and-white and sepia photos
    have."""
    light = luminance(image)
    powers = np.vander(light.ravel(), 3)
    tints = (image - light[..., None]).reshape(-1, 3)
    off = tints - powers @ np.linalg.lstsq(powers, tints, rcond=None)[0]
    return bool(np.sqrt(np.square(off).mean()) <= MONOCHROME * light.std() + 1e-6)
