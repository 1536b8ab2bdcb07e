"""What the generator's training asks of a network that has read two secrets of a photo."""

from __future__ import annotations

import pytest
import torch

from training import perceptface
from training.known_faces import Batch, Reader

ONE, OTHER, NOBODY = torch.eye(3)
READER = Reader("one", lambda images, _: images, 0.4)


def asked(*vectors: torch.Tensor) -> dict[str, float]:
    nothing = torch.zeros(2, 1, 1, 1)
    seen = Batch(nothing, nothing, nothing, torch.zeros(2, 5, 2), {"one": torch.stack((ONE, ONE))})
    return {k: float(v) for k, v in perceptface.read(torch.stack(vectors), seen, READER).items()}


def test_the_source_itself_is_furthest_from_what_is_wanted() -> None:
    found = asked(ONE, ONE)
    assert found["hiding"] == pytest.approx(1 - (1 - perceptface.FLOOR) * 0.4)
    assert found["linked"] == pytest.approx(1 - perceptface.APART * 0.4)


def test_two_others_are_all_that_is_wanted() -> None:
    assert asked(OTHER, NOBODY) == {"hiding": 0, "linked": 0}


def test_one_other_twice_is_linked() -> None:
    found = asked(OTHER, OTHER)
    assert found["hiding"] == 0
    assert found["linked"] > 0.5
