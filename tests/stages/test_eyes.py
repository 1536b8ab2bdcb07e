"""Eyes keep gaze and light and get another colour, in the photo's own light."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.color import rgb2lab

from core.networks import Networks
from core.stages.align import AlignedFaces
from core.stages.compose import Setting, compose
from core.stages.decouple import open_eyes, skin_colour, to_arrays
from core.stages.eyes import iris_colour, recoloured

Array = NDArray[np.float32]
BROWN, BLUE = np.array((9.0, 16.0)), np.array((-2.0, -18.0))


@pytest.fixture(scope="module")
def picture(faces: AlignedFaces) -> Array:
    return to_arrays(faces.images)[0]


@pytest.fixture(scope="module")
def landmarks(faces: AlignedFaces) -> Array:
    return np.asarray(faces.landmarks[0].numpy())


@pytest.fixture(scope="module")
def eyes(picture: Array, landmarks: Array) -> Array:
    return open_eyes(picture, landmarks)


@pytest.mark.parametrize("colour", [BROWN, BLUE])
def test_irises_get_a_colour_and_nothing_else(picture: Array, landmarks: Array, eyes: Array, colour: Array) -> None:
    painted = recoloured(picture, eyes, colour)
    before, after = rgb2lab(picture), rgb2lab(painted)
    assert np.array_equal(painted[eyes == 0], picture[eyes == 0])
    assert np.abs(after - before)[..., 0].max() < 2
    found = iris_colour(painted, landmarks) + skin_colour(picture, landmarks)[1:]
    assert np.abs(found - colour).max() < 0.5 * np.abs(BROWN - BLUE).max()
    assert np.linalg.norm(found - colour) < np.linalg.norm(found - (BLUE if colour is BROWN else BROWN))


def test_the_white_of_an_eye_stays(picture: Array, eyes: Array) -> None:
    light = rgb2lab(picture)[..., 0]
    shown = eyes > 0.5
    white, dark = (shown & (light > np.percentile(light[shown], 92))), (shown & (light < np.median(light[shown])))
    changes = np.abs(rgb2lab(recoloured(picture, eyes, BLUE)) - rgb2lab(picture))[..., 2]
    assert changes[white].max() < 1
    assert changes[dark].mean() > 5


def test_shut_eyes_have_no_colour_to_change(picture: Array, eyes: Array) -> None:
    assert recoloured(picture, np.zeros_like(eyes), BROWN) is picture


def test_a_persona_s_irises_come_in_the_light_of_the_photo(
    picture: Array, landmarks: Array, eyes: Array, networks: Networks
) -> None:
    warm = picture * np.array((1.0, 0.9, 0.7), np.float32)
    covered = np.zeros_like(eyes)

    def worn() -> Iterator[tuple[Array, Array]]:
        for photo in (picture, warm):
            face = next(compose(Setting.of(photo, landmarks, covered, eyes), networks.personas[0]))
            yield skin_colour(photo, landmarks)[1:], iris_colour(face, landmarks) + skin_colour(face, landmarks)[1:]

    (skin, iris), (warm_skin, warm_iris) = worn()
    assert warm_skin[1] > skin[1] + 8
    assert warm_iris[1] > iris[1] + 4
