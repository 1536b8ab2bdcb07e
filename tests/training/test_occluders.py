"""Things drawn in front of faces, and what the occlusion network is told of them."""

from __future__ import annotations

import numpy as np
import pytest

from training import occluders, occlusion
from training.occluders import KINDS, SIDE, Face, Palette

MARKS = np.array(((48, 60), (80, 60), (64, 80), (50, 94), (78, 94)), np.float32)
FACE = Face.of(MARKS)
PALETTE = Palette(
    np.array((0.8, 0.6, 0.5)), np.array((0.2, 0.15, 0.1)), np.random.default_rng(1).random((SIDE, SIDE, 3))
)


@pytest.mark.parametrize("kind", [k for k, _ in KINDS], ids=lambda k: k.__name__)
def test_each_kind_covers_something_and_not_everything(kind: occluders.Kind) -> None:
    layers = np.stack([kind(np.random.default_rng(seed), FACE, PALETTE) for seed in range(24)])
    assert layers.shape == (24, SIDE, SIDE, 4)
    assert layers.min() >= 0
    assert layers.max() <= 1
    shares = layers[..., 3].mean((1, 2))
    assert shares.min() > 0.001
    assert shares.max() < 0.8
    assert np.median(layers[..., 3].max((1, 2))) > 0.9


def test_what_lies_above_hides_what_lies_below() -> None:
    below, above = np.full((SIDE, SIDE, 4), 0.25), np.full((SIDE, SIDE, 4), 0.75)
    below[..., 3], above[..., 3] = 1, 0.5
    both = occluders.over(below, above)
    np.testing.assert_allclose(both[..., :3], 0.5)
    np.testing.assert_allclose(both[..., 3], 1)


def test_make_up_darkens_and_hides_nothing() -> None:
    face = np.full((SIDE, SIDE, 3), 0.6)
    painted = [occluders.made_up(np.random.default_rng(seed), face, MARKS) for seed in range(12)]
    assert np.max(painted) <= 0.6
    assert np.min(painted) < 0.4


def test_the_network_is_told_of_all_that_is_drawn_and_asked_where_it_is_certain() -> None:
    """A gray face of which everything is known: what departs from it is what is drawn."""
    plain = np.full((SIDE, SIDE, 3), 0.5)
    face = occlusion.Bare(plain, MARKS, np.zeros((SIDE, SIDE)), np.ones((SIDE, SIDE)), PALETTE, "nobody")
    for seed in range(12):
        image, label, known = np.split(occlusion.drawn(face, np.random.default_rng(seed)), (3, 4))
        assert image.shape == (3, SIDE, SIDE)
        assert (np.abs(label[known > 0.99] - 0.5) < 0.2).mean() < 0.03  # but for the edges
        assert known.mean() > 0.5
    covered = [occlusion.drawn(face, np.random.default_rng(seed))[3].mean() for seed in range(24)]
    assert min(covered) == 0  # bare faces are shown as well
    assert max(covered) > 0.1
