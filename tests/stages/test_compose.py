"""The inside of a persona's face in a photo: only there, in its light, colour, shape and sharpness."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from core import objectives
from core.networks import Networks
from core.objectives import LUMA
from core.stages import recompose as recomposition
from core.stages.align import AlignedFaces
from core.stages.colour import luminance
from core.stages.compose import Setting, as_sharp_as, compose
from core.stages.decouple import decouple, fringe, to_arrays
from core.stages.recompose import wear
from core.stages.regions import LEAST_TURN, eyeballs, face_mask, lines_mask, skin_mask


def test_nothing_outside_the_mask_changes_and_the_inside_does(faces: AlignedFaces, networks: Networks) -> None:
    source, marks = to_arrays(faces.images)[0], faces.landmarks[0].numpy()
    composed = next(compose(Setting.of(source, marks, fringe(source, marks)), networks.personas[0]))
    mask = face_mask(marks, hidden=LEAST_TURN)
    assert (composed[mask == 0] == source[mask == 0]).all()
    assert np.abs(composed - source)[mask > 0.9].mean() > 0.02
    assert composed.min() >= 0
    assert composed.max() <= 1


@pytest.mark.parametrize("tint", [(1.0, 1.0, 1.0), (1.05, 0.85, 0.62)], ids=["black and white", "sepia"])
def test_a_photo_of_one_colour_gets_a_face_of_that_colour(
    faces: AlignedFaces, networks: Networks, tint: tuple[float, float, float]
) -> None:
    source, marks = to_arrays(faces.images)[0], faces.landmarks[0].numpy()
    photo = (0.9 * luminance(source)[..., None] * np.float32(tint)).astype(np.float32)
    composed = next(compose(Setting.of(photo, marks, fringe(photo, marks), eyeballs(marks)), networks.personas[0]))
    assert np.abs(composed - photo)[face_mask(marks) > 0.9].mean() > 0.02
    light = luminance(composed)[..., None]
    np.testing.assert_allclose(composed, light * np.float32(tint) / (np.float32(tint) @ np.float32(LUMA)), atol=0.01)


@pytest.mark.parametrize("dimmed", [1.0, 0.15])
def test_a_face_is_as_dark_as_its_photo(faces: AlignedFaces, networks: Networks, dimmed: float) -> None:
    source, marks = dimmed * to_arrays(faces.images)[0], faces.landmarks[0].numpy()
    composed = next(compose(Setting.of(source, marks, fringe(source, marks)), networks.personas[0]))
    cheeks = skin_mask(marks) > 0
    assert abs(luminance(composed)[cheeks].mean() / luminance(source)[cheeks].mean() - 1) < 0.1


def test_features_become_as_sharp_as_those_of_the_photo_and_skin_stays(faces: AlignedFaces) -> None:
    sharp, marks = to_arrays(faces.images)[0], faces.landmarks[0].numpy()
    soft = np.asarray(gaussian_filter(sharp, (1, 1, 0)), np.float32)
    crisper = as_sharp_as(sharp, marks, soft, marks)
    lines = lines_mask(marks) > 0

    def off(image: NDArray[np.float32]) -> float:
        return float(np.abs(image - sharp)[lines].mean())

    assert off(crisper) < 0.8 * off(soft)
    far = gaussian_filter(lines_mask(marks), 3.0) == 0
    assert np.array_equal(crisper[far], soft[far])
    assert np.array_equal(as_sharp_as(soft, marks, sharp, marks), sharp)


def test_hair_over_the_forehead_stays_and_skin_does_not_count_as_hair(faces: AlignedFaces, networks: Networks) -> None:
    source, marks = to_arrays(faces.images)[0], faces.landmarks[0].numpy()
    left, right = marks[0], marks[1]
    span = float(np.linalg.norm(right - left))
    skin = np.broadcast_to(np.median(source[skin_mask(marks) > 0], 0), source.shape).astype(np.float32).copy()
    assert fringe(skin, marks).max() < 0.05
    top = int((left[1] + right[1]) / 2 - 0.55 * span)
    haired = skin.copy()
    haired[:top] *= 0.3
    haired[int(left[1]) - 3 : int(left[1]) + 3] *= 0.3  # brows and eyes are dark as well, and no fringe
    hair = fringe(haired, marks)
    assert hair[top - 4, 128] > 0.9
    assert hair[int(left[1]) - 6 :].max() < 0.01
    composed = next(compose(Setting.of(haired, marks, hair), networks.personas[0]))
    inside = (face_mask(marks) > 0.9) & (hair > 0.95)
    assert inside.any()
    assert np.abs(composed - haired)[inside].max() < 0.05


def test_a_personas_hair_does_not_come_with_its_face(faces: AlignedFaces, networks: Networks) -> None:
    source, marks = to_arrays(faces.images)[0], faces.landmarks[0].numpy()
    persona = networks.personas[0]
    left, right = persona.landmarks[0], persona.landmarks[1]
    image = persona.image.copy()
    image[: int((left[1] + right[1]) / 2 - 0.55 * np.linalg.norm(right - left))] //= 4  # hair down to its forehead
    bald = np.zeros((256, 256), np.float32)
    composed = next(compose(Setting.of(source, marks, bald), replace(persona, image=image)))
    upper = (face_mask(marks) > 0.9) & (
        np.arange(256)[:, None] < marks[:2, 1].mean() - 0.6 * (marks[1, 0] - marks[0, 0])
    )
    assert upper.sum() > 100
    assert np.abs(composed - source)[upper].max() < 0.02


def test_a_persona_that_would_be_taken_for_the_face_keeps_its_own_shape(
    faces: AlignedFaces, networks: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, appearance = decouple(faces, networks)
    persona = next(p for p in networks.personas if p.name == "116")  # any that grows more like the face with each move

    def worn() -> NDArray[np.float32]:
        return to_arrays(wear(faces, appearance, (persona,), (persona.plain,)).images)[0]

    source, marks = to_arrays(faces.images)[0], faces.landmarks[0].numpy()
    covered, eyes = appearance.covered[0, 0].numpy(), appearance.eyes[0, 0].numpy()
    pictures = list(compose(Setting.of(source, marks, covered, eyes), persona))
    assert all(np.abs(a - b).max() > 0.05 for a, b in pairwise(pictures))
    images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    alike = objectives.likeness(images, faces.images, appearance.features)
    assert alike[0] > alike[1] > alike[2]
    for picture, limit in ((0, 1.0), (1, float(alike[:2].mean())), (2, 0.0)):
        monkeypatch.setattr(recomposition, "RECOGNISABLE", limit + recomposition.SPARE)
        assert np.array_equal(worn(), pictures[picture])
