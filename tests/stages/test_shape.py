"""A persona comes into the shape of the photo's face: its landmarks, its turn, the heights of what is dark in it."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from core.networks import Networks
from core.stages.align import SIDE, TEMPLATE, AlignedFaces
from core.stages.compose import Setting, compose
from core.stages.decouple import decouple, to_arrays
from core.stages.pose import Pose
from core.stages.regions import eye_distance, frame
from core.stages.shape import (
    MOST,
    PIXELS,
    SQUEEZED,
    heights,
    levelled,
    origins,
    sampled,
    squeezed,
    taken,
    target_landmarks,
)

MARKS = np.array(TEMPLATE, np.float32)
UNSEEN = np.full(2, np.nan)


def drawn(left: float, right: float, nostrils: float) -> NDArray[np.float32]:
    """Skin with dark bars that begin so far below the landmarks, in inter-ocular distances."""
    x, y = frame(MARKS)
    u, v = frame(MARKS, MARKS[:3])
    luma = np.full((SIDE, SIDE), 0.6, np.float32)
    for k, height in enumerate((left, right, nostrils)):
        luma[(np.abs(x - u[k]) < 0.2) & (np.abs(y - v[k] - height - 0.03) < 0.03)] = 0.3
    return np.repeat(gaussian_filter(luma, 1.0)[..., None], 3, 2)


def test_brows_and_nostrils_are_found_where_they_are() -> None:
    assert heights(drawn(-0.30, -0.30, 0.10), MARKS) == pytest.approx([-0.30, 0.10], abs=0.015)
    assert heights(drawn(-0.36, -0.28, 0.06), MARKS) == pytest.approx([-0.32, 0.06], abs=0.015)


def test_a_brow_is_found_above_the_shadow_of_its_eye_and_below_a_crease() -> None:
    picture, y = drawn(-0.30, -0.30, 0.10), frame(MARKS)[1]
    picture[(y > -0.26) & (y < 0)] = 0.25
    picture[np.abs(y + 0.5) < 0.02] *= 0.8
    assert heights(picture, MARKS) == pytest.approx([-0.30, 0.10], abs=0.02)


def test_what_is_covered_or_not_there_has_no_height() -> None:
    picture = drawn(-0.30, -0.30, 0.10)
    hand = (np.mgrid[:SIDE, :SIDE][0] > MARKS[:2, 1].mean() + 10).astype(np.float32)
    seen = heights(picture, MARKS, hand)
    assert seen[0] == pytest.approx(-0.30, abs=0.015)
    assert np.isnan(seen[1])
    assert np.isnan(heights(np.full_like(picture, 0.6), MARKS)).all()


def test_one_brow_under_hair_leaves_the_other() -> None:
    hair = np.zeros((SIDE, SIDE), np.float32)
    hair[:, : SIDE // 2] = 1
    assert heights(drawn(-0.20, -0.32, 0.10), MARKS, hair)[0] == pytest.approx(-0.32, abs=0.015)


def test_features_come_to_the_heights_of_the_photo() -> None:
    picture, photo = drawn(-0.30, -0.30, 0.10), drawn(-0.24, -0.24, 0.13)
    here, there = heights(photo, MARKS), heights(picture, MARKS)
    moved = taken(picture, levelled(PIXELS, MARKS, here, there))
    assert heights(moved, MARKS) == pytest.approx(here, abs=0.015)


def test_nothing_moves_far_nor_where_there_is_no_feature() -> None:
    far = np.array([-0.55, 0.10])
    moved = levelled(PIXELS, MARKS, far, np.array([-0.20, 0.10]))
    steps = np.linalg.norm(moved - PIXELS, axis=1).reshape(SIDE, SIDE)
    # Two brows, whose reaches overlap between them.
    assert MOST * eye_distance(MARKS) < steps.max() < 1.3 * MOST * eye_distance(MARKS)
    eyes, chin = MARKS[:2].round().astype(int), (SIDE - 20, SIDE // 2)
    assert steps[eyes[:, 1], eyes[:, 0]].max() < 0.5
    assert steps[chin] < 0.01
    still = levelled(PIXELS, MARKS, UNSEEN, far)
    assert np.abs(still - PIXELS).max() < 0.01


def test_a_levelled_persona_has_its_brows_where_the_photo_has_them(faces: AlignedFaces, networks: Networks) -> None:
    _, appearance = decouple(faces, networks)
    source, marks = to_arrays(faces.images)[0], faces.landmarks[0].numpy()
    covered = appearance.covered[0, 0].numpy()
    own = heights(source, marks, covered)[0]
    off = []
    for persona in networks.personas[:24:2]:
        image = np.asarray(persona.image / 255, np.float32)
        before = heights(sampled(image, origins(persona.landmarks, marks, Pose.of(marks).angle)), marks)[0]
        level = next(islice(compose(Setting.of(source, marks, covered), persona), 1, None))
        off.append((abs(before - own), abs(heights(level, marks, covered)[0] - own)))
    before, after = np.nanmean(off, 0)
    assert after < 0.5 * before


def test_eyes_go_onto_the_sources_and_a_mouth_half_of_the_way_to_its_width() -> None:
    source = np.array([[96, 120], [160, 120], [128, 160], [108, 188], [148, 188]], np.float32)
    persona = np.array([[96, 120], [160, 120], [128, 160], [88, 188], [168, 188]], np.float32)
    target = target_landmarks(source, persona)
    assert np.array_equal(target[:3], source[:3])
    assert target[3:].mean(0) == pytest.approx(source[3:].mean(0))
    assert target[4, 0] - target[3, 0] == pytest.approx(np.sqrt(40 * 80))


def test_a_mouth_stays_as_high_as_it_is_and_a_nose_goes_half_of_the_way() -> None:
    source = np.array([[96, 120], [160, 120], [128, 160], [108, 188], [148, 188]], np.float32)
    persona = source + np.array([(0, 0), (0, 0), (0, 6), (0, -4), (0, -4)], np.float32)
    target = target_landmarks(source, persona)
    assert target[2] == pytest.approx((128, 163))
    assert target[3:, 1] == pytest.approx((184, 184))


@pytest.mark.parametrize("angle", [-0.4, 0.4])
def test_a_turned_head_is_no_longer_face(angle: float) -> None:
    """Seen from aside eyes are nearer to one another, and all else seems longer."""
    persona = np.array([[96, 120], [160, 120], [128, 158], [108, 186], [148, 186]], np.float32)
    pose = Pose.of(persona)
    turned = pose.turned(angle).project(pose.unproject(persona)).astype(np.float32)
    assert np.linalg.norm(turned[1] - turned[0]) < 0.95 * np.linalg.norm(persona[1] - persona[0])
    assert target_landmarks(turned, persona)[2:] == pytest.approx(turned[2:], abs=1.0)


def test_a_face_that_stays_as_it_is_keeps_every_line(networks: Networks) -> None:
    persona = networks.personas[0]
    image = np.asarray(persona.image / 255, np.float32)
    points = origins(persona.landmarks, persona.landmarks, Pose.of(persona.landmarks).angle)
    height = heights(image, persona.landmarks)
    moved = taken(image, levelled(points, persona.landmarks, height, height))
    assert np.abs(moved - image)[8:-8, 8:-8].max() < 0.02


def test_what_a_turn_squeezes_becomes_soft_instead_of_a_line(networks: Networks) -> None:
    own = Pose.of(networks.personas[0].landmarks)
    turned = own.turned(0.4)
    marks = own.unproject(networks.personas[0].landmarks)
    stripes = np.zeros((256, 256, 3), np.float32)
    stripes[:, ::4] = stripes[:, 1::4] = 1
    points = origins(own.project(marks), turned.project(marks), turned.angle)
    moved, plain, apart = taken(stripes, points), sampled(stripes, points), squeezed(points)
    behind_the_nose = (apart > SQUEEZED[1])[140:170, 120:160]
    assert behind_the_nose.sum() > 30
    contrast, before = (np.abs(x - 0.5).mean(-1)[140:170, 120:160][behind_the_nose].mean() for x in (moved, plain))
    assert contrast < 0.6 * before
    assert np.allclose(moved[apart < 1.1], plain[apart < 1.1], atol=0.05)
