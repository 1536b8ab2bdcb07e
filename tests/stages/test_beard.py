"""Hair on the lower face is found there alone, and goes on over another face without its shapes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from core.stages.align import AlignedFaces
from core.stages.beard import beard, bearded
from core.stages.compose import Setting
from core.stages.decouple import to_arrays
from core.stages.regions import face_mask, frame, openings_mask

Array = NDArray[np.float32]


@pytest.fixture
def face(faces: AlignedFaces) -> tuple[Array, Array]:
    """Picture and landmarks."""
    return to_arrays(faces.images)[0], faces.landmarks[0].numpy()


def found(picture: Array, marks: Array) -> Array:
    return beard(picture, marks, 1 - openings_mask(marks), face_mask(marks))


def stubble(marks: Array, from_height: float, to_height: float) -> Array:
    """Dark specks between two heights below the eyes, in inter-ocular distances; (256, 256, 1)."""
    y = frame(marks)[1]
    specks = gaussian_filter(np.random.default_rng(0).normal(size=y.shape), 0.7)
    return np.asarray((0.1 * specks * ((y > from_height) & (y < to_height)))[..., None], np.float32)


def test_who_is_shaven_has_none(face: tuple[Array, Array]) -> None:
    assert found(*face).max() == 0


def test_stubble_is_found_below_the_nose_and_beside_the_lips(face: tuple[Array, Array]) -> None:
    picture, marks = face
    where = found(picture + stubble(marks, 0.8, 9.0), marks)
    _, y = frame(marks)
    chin = (face_mask(marks) > 0.5) & (y > 1.25)
    assert where.max() > 0.9
    assert where[chin].mean() > 0.4
    assert where[y < 0.5].max() == 0
    lips = openings_mask(marks) * (y > 0.8)
    assert where[lips > 0.99].mean() < 0.05


def test_rough_skin_all_over_and_a_rough_corner_are_no_beard(face: tuple[Array, Array]) -> None:
    picture, marks = face
    assert found(picture + stubble(marks, -9.0, 9.0), marks).max() < 0.2
    assert found(picture + stubble(marks, 1.35, 1.5), marks).max() < 0.2


def test_a_rough_lower_face_is_no_beard_of_who_has_none(face: tuple[Array, Array]) -> None:
    picture, marks = face
    rough, bare = picture + stubble(marks, 0.8, 9.0), np.zeros_like(picture[..., 0])
    assert Setting.of(rough, marks, bare).beard.max() > 0.9
    assert Setting.of(rough, marks, bare, shaven=True).beard.max() == 0


def test_hair_goes_on_without_the_shapes_that_it_lies_on(face: tuple[Array, Array]) -> None:
    picture, marks = face
    other, where = picture[:, ::-1].copy(), np.full(picture.shape[:2], 1.0, np.float32)
    hairy = bearded(other, picture + stubble(marks, 0.8, 9.0), where)
    assert np.array_equal(bearded(other, picture, 0 * where), other)
    coarse = [gaussian_filter(x, (6, 6, 0)) for x in (hairy, other, picture)]
    assert np.abs(coarse[0] - coarse[1]).mean() < 0.1 * np.abs(coarse[2] - coarse[1]).mean()
