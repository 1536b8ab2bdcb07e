"""A persona's features come onto the photo's, smoothly, and no further than that."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from core.stages.align import SIDE, TEMPLATE, AlignedFaces
from core.stages.decouple import to_arrays
from core.stages.pose import Points
from core.stages.regions import eye_distance, face_mask
from core.stages.register import MOST, drawing, registered
from core.stages.shape import PIXELS, sampled

MARKS = np.array(TEMPLATE, np.float32)
SPAN = eye_distance(MARKS)
Image = NDArray[np.float32]


@pytest.fixture
def source(faces: AlignedFaces) -> Image:
    return to_arrays(faces.images)[0]


@pytest.fixture
def mask(faces: AlignedFaces) -> Image:
    return face_mask(faces.landmarks[0].numpy())


def bent(rng: np.random.Generator, size: float) -> Points:
    """Points that are moved as a face's features are from one person to another, px (standard deviation)."""
    noise = gaussian_filter(rng.normal(size=(SIDE, SIDE, 2)), (16, 16, 0))
    return np.asarray(PIXELS + (size * noise / noise.std()).reshape(-1, 2))


def brought(points: Points, image: Image, target: Image, mask: Image) -> Points:
    return registered(points, drawing(image, mask), drawing(target, mask), mask, SPAN)


def off(a: Image, b: Image, mask: Image) -> float:
    """How differently two pictures are drawn."""
    return float(np.abs(drawing(a, mask) - drawing(b, mask)).mean())


def test_what_is_bent_comes_back(source: Image, mask: Image) -> None:
    points = bent(np.random.default_rng(0), 1.5)
    image = sampled(source, points)
    found = brought(points, image, source, mask)
    assert off(sampled(source, found), source, mask) < 0.6 * off(image, source, mask)
    inside = mask.ravel() > 0.9
    before, after = (np.linalg.norm((p - PIXELS)[inside], axis=1).mean() for p in (points, found))
    assert after < 0.7 * before


def test_it_finds_features_in_any_light(source: Image, mask: Image) -> None:
    points = bent(np.random.default_rng(1), 1.5)
    dim = np.asarray(0.5 * source * np.linspace(0.6, 1.2, SIDE, dtype=np.float32)[:, None], np.float32)
    bright, dark = (brought(points, sampled(source, points), x, mask) for x in (source, dim))
    assert np.abs(bright - dark).mean() < 0.25


def test_it_neither_tears_nor_moves_far(source: Image, mask: Image) -> None:
    found = brought(PIXELS, source[::-1].copy(), source, mask)
    steps = (found - PIXELS).reshape(SIDE, SIDE, 2)
    assert 1 < np.linalg.norm(steps, axis=-1).max() < 1.01 * MOST * SPAN
    along = np.stack((np.diff(steps[..., 0], axis=1)[:-1], np.diff(steps[..., 1], axis=0)[:, :-1]))
    assert along.min() > -0.9  # neighbours stay in their order


def test_nothing_moves_where_the_face_is_not_to_be_seen(source: Image, mask: Image) -> None:
    points = bent(np.random.default_rng(2), 2.0)
    hand = np.zeros_like(mask)
    hand[:, : SIDE // 2] = 1
    found = brought(points, sampled(source, points), source, mask * (1 - hand))
    steps = np.linalg.norm(found - points, axis=1).reshape(SIDE, SIDE)
    assert steps[:, : SIDE // 2 - 16].max() < 0.05
    assert steps[:, SIDE // 2 :].max() > 1
    nowhere = brought(points, sampled(source, points), source, np.zeros_like(mask))
    assert np.abs(nowhere - points).max() < 0.01
