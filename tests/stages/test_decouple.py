"""The outline of a face follows the way its head is turned."""

from __future__ import annotations

import numpy as np
import pytest

from core.stages.align import TEMPLATE
from core.stages.decouple import face_mask, turn

FRONTAL = np.array(TEMPLATE, np.float32)


def turned(pixels: float) -> np.ndarray:
    """The template with its nose to the side."""
    marks = FRONTAL.copy()
    marks[2, 0] = FRONTAL[:2, 0].mean() + pixels
    return marks


def extent(marks: np.ndarray) -> tuple[float, float]:
    """How far the mask reaches to the left and right of the middle, px."""
    columns = np.flatnonzero((face_mask(marks) > 0.5).any(0))
    middle = FRONTAL[:2, 0].mean()
    return middle - columns[0], columns[-1] - middle


@pytest.mark.parametrize("side", [-1, 1])
def test_the_far_side_of_a_turned_head_is_narrow_and_the_near_side_is_not(side: int) -> None:
    marks = turned(side * 20)
    assert turn(marks) == pytest.approx(side * 20 / (FRONTAL[1, 0] - FRONTAL[0, 0]))
    near, far = extent(marks)[::side]
    straight = extent(turned(0))
    assert near == pytest.approx(straight[0], abs=1)
    assert far < 0.9 * straight[1]


def test_a_nose_beyond_its_face_leaves_a_mask_all_the_same() -> None:
    assert (face_mask(turned(300)) > 0.5).sum() > 1000
