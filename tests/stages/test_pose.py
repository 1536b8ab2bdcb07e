"""Turning faces: what is seen of a turned face is found again on the frontal one."""

from __future__ import annotations

import numpy as np
import pytest

from core.stages.pose import FURTHEST, TIP, Pose

FACE = np.array([(-0.5, 0.0), (0.5, 0.0), (0.0, TIP), (-0.4, 1.0), (0.4, 1.0), (0.0, -0.5), (0.0, 1.5)])
FRONTAL = Pose(np.array([120.0, 110.0]), np.array([60.0, 6.0]), 0.0)  # in a picture that is a little askew


@pytest.mark.parametrize("angle", [-0.4, -0.1, 0.0, 0.2, 0.5])
def test_what_is_projected_is_found_again(angle: float) -> None:
    pose = FRONTAL.turned(angle)
    assert np.allclose(pose.unproject(pose.project(FACE)), FACE, atol=0.01)


@pytest.mark.parametrize("angle", [-0.4, 0.0, 0.25])
def test_read_off_landmarks(angle: float) -> None:
    landmarks = FRONTAL.turned(angle).project(FACE[:5])
    found = Pose.of(landmarks)
    assert found.angle == pytest.approx(angle, abs=0.01)
    assert np.allclose(found.across, FRONTAL.across, atol=0.5)
    assert np.allclose(found.eyes, FRONTAL.eyes, atol=0.1)


def test_the_nose_goes_where_the_head_turns() -> None:
    left, right, nose, *_ = FRONTAL.turned(0.3).project(FACE)
    assert (nose - (left + right) / 2) @ FRONTAL.across > 0
    assert np.linalg.norm(right - left) < np.linalg.norm(FRONTAL.across)


def test_no_face_turns_further_than_a_generic_nose_allows() -> None:
    profile = np.array([(100.0, 100), (120, 100), (140, 120), (110, 140), (120, 140)])
    assert Pose.of(profile).angle == FURTHEST
