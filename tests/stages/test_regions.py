"""The outline of a face follows the way its head is turned."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from core.stages.align import TEMPLATE, AlignedFaces
from core.stages.regions import LEAST_TURN, TURN, face_mask, openings_mask, rectangle, region_weights, turn

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


@pytest.mark.parametrize("side", [-1, 1])
def test_where_it_is_known_where_a_face_ends_its_mask_reaches_further(side: int) -> None:
    marks = turned(side * 20)
    sure, furthest = ((face_mask(marks, hidden=share) > 0.5) for share in (TURN, LEAST_TURN))
    assert not (sure & ~furthest).any()
    columns = np.flatnonzero((furthest & ~sure).any(0))
    assert ((columns - FRONTAL[:2, 0].mean()) * side > 0).all()
    assert len(columns) > 4


def test_a_nose_beyond_its_face_leaves_a_mask_all_the_same() -> None:
    assert (face_mask(turned(300)) > 0.5).sum() > 1000


def test_each_region_has_its_share_whatever_its_size(faces: AlignedFaces) -> None:
    weights = region_weights(faces.landmarks)[0, 0]
    left, right, nose, mouth_left, mouth_right = (tuple(p.round().int().tolist()) for p in faces.landmarks[0])
    cheek = ((left[0] + mouth_left[0]) // 2, (left[1] + mouth_left[1]) // 2)
    eye, tip, lip, skin = (float(weights[y, x]) for x, y in (right, nose, mouth_right, cheek))
    assert float(weights.max()) == pytest.approx(1, abs=0.1)
    assert eye > tip > skin > 0
    assert eye > lip > skin
    assert float(weights[0].max()) == 0


def test_a_rectangle_holds_all_masks_and_ends_with_the_image() -> None:
    masks = torch.zeros(2, 1, 256, 256)
    masks[0, :, 60:120, 5:100] = 1
    masks[1, :, 80:200, 95:130] = 0.2
    part = masks[rectangle(masks, 12)]
    assert part.sum() == masks.sum()
    assert part.shape[-2:] == (140 + 2 * 12, 125 + 5 + 12)


def test_eyes_and_lips_are_what_has_a_colour_of_its_own() -> None:
    left, right, nose, mouth_left, mouth_right = FRONTAL.round().astype(int)
    own = openings_mask(FRONTAL)
    for x, y in (left, right, (mouth_left + mouth_right) // 2):
        assert own[y, x] > 0.9
    lid = left - (0, round(0.25 * (right - left)[0]))
    for x, y in (nose, (left + mouth_left) // 2, lid):
        assert own[y, x] < 0.1
