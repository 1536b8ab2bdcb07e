"""Light and contrast that a persona takes from the photo it comes into."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from core.stages.align import SIDE
from core.stages.light import DEEPER, as_deep_as, shading

MASK = np.ones((SIDE, SIDE), np.float32)


def picture(contrast: float) -> NDArray[np.float32]:
    """Blotches as large as eyes and lips, the same ones whatever their contrast."""
    noise = gaussian_filter(np.random.default_rng(7).standard_normal((SIDE, SIDE)), 6.0)
    return np.repeat(0.5 * np.exp(contrast * noise / noise.std())[..., None], 3, 2).astype(np.float32)


def contrast(image: NDArray[np.float32]) -> float:
    """Against the light: what is coarser is the photo's in any case."""
    return float((np.log(image) - np.log(shading(image, MASK))).std())


def test_a_flat_picture_becomes_as_deep_as_the_photo() -> None:
    flat = picture(0.10)
    photo = picture(0.13)
    assert contrast(as_deep_as(photo, flat, MASK)) == pytest.approx(contrast(photo), rel=0.1)
    assert contrast(flat) < 0.8 * contrast(photo)


def test_a_deep_picture_stays_as_it_is() -> None:
    deep = picture(0.13)
    np.testing.assert_allclose(as_deep_as(picture(0.10), deep, MASK), deep, atol=1e-6)


def test_fog_is_not_torn_open() -> None:
    """What a photo has and a picture lacks altogether cannot be drawn darker than DEEPER allows."""
    fog = picture(0.01)
    assert contrast(as_deep_as(picture(0.4), fog, MASK)) < DEEPER * contrast(fog)
