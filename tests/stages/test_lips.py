"""Lips have the photo's colour."""

from __future__ import annotations

import numpy as np
import pytest

from core.networks import Networks
from core.stages.align import AlignedFaces
from core.stages.colour import to_lab, to_rgb
from core.stages.compose import Setting, compose
from core.stages.decouple import fringe, to_arrays
from core.stages.lips import Face, Lips


def made_up(image: Face, lips: Lips, colour: tuple[float, float, float]) -> Face:
    """The image with lips that differ from its skin by this much more, CIELAB."""
    painted, place = image.copy(), lips.where > 0.05
    painted[place] = to_rgb(to_lab(image[place]) + lips.where[place][:, None] * np.array(colour))
    return painted


def test_a_persona_wears_the_lipstick_of_the_photo(faces: AlignedFaces, networks: Networks) -> None:
    source, marks = to_arrays(faces.images)[0], faces.landmarks[0].numpy()
    bare, persona = np.ones((256, 256), np.float32), networks.personas[0]
    own = Lips.of(source, marks, bare)
    assert own.distinct > 0.5
    red, pale = (made_up(source, own, colour) for colour in ((-8.0, 25.0, 8.0), (4.0, -6.0, 0.0)))
    worn = [next(compose(Setting.of(photo, marks, fringe(photo, marks)), persona)) for photo in (red, pale)]
    reddest, palest = (Lips.of(face, marks, bare).colour for face in worn)
    assert reddest[1] > palest[1] + 10
    assert reddest[0] < palest[0]
    away = np.abs(worn[0] - worn[1])[60:140]
    assert away.max() < 0.05


def test_a_mouth_that_is_covered_or_as_pale_as_skin_has_no_lips_to_speak_of(
    faces: AlignedFaces, networks: Networks
) -> None:
    image, marks = to_arrays(faces.images)[0], faces.landmarks[0].numpy()
    covered = Lips.of(image, marks, np.zeros((256, 256), np.float32))
    assert covered.distinct == covered.where.max() == 0
    grey = np.repeat(image.mean(-1, keepdims=True), 3, -1)
    gray = Lips.of(grey, marks, np.ones((256, 256), np.float32))
    assert gray.distinct == 0
    assert (gray.on(image, marks, gray) == image).all()
    assert (covered.on(image, marks, covered) == image).all()


@pytest.mark.parametrize("lab", [(0.0, 0.0, 90.0), (30.0, 60.0, 90.0)])
def test_a_colour_that_does_not_exist_is_made_less_yellow_until_it_does(lab: tuple[float, float, float]) -> None:
    """What it is made of would else be less than nothing, of which skimage warns, and a warning is an error here."""
    found = to_rgb(np.array([lab]).repeat(99, 0) + np.linspace(0, 1, 99)[:, None] * (5.0, 0.0, 3.0))
    assert ((found >= 0) & (found <= 1)).all()
    colours = np.random.default_rng(0).random((50, 3))
    assert np.allclose(to_rgb(to_lab(colours)), colours, atol=1e-3)
