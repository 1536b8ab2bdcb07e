"""What the generator's training asks of a network that has read two secrets of a photo."""

from __future__ import annotations

import pytest
import torch

from core.stages.decouple import Identity
from training import perceptface
from training.known_faces import Batch, Reader

ONE, OTHER, NOBODY = torch.eye(3)
READER = Reader("one", lambda images, _: images, 0.4)


def asked(*vectors: torch.Tensor) -> dict[str, float]:
    nothing = torch.zeros(2, 1, 1, 1)
    seen = Batch(nothing, nothing, nothing, torch.zeros(2, 5, 2), {"one": torch.stack((ONE, ONE))})
    secret = Identity({"one": torch.stack((OTHER, NOBODY))})
    return {k: float(v) for k, v in perceptface.read(torch.stack(vectors), seen, secret, READER).items()}


def test_the_source_itself_is_furthest_from_what_is_wanted() -> None:
    found = asked(ONE, ONE)
    assert found["astray"] == 1
    assert found["hiding"] == pytest.approx(1 - (1 - perceptface.FLOOR) * 0.4)
    assert found["linked"] == pytest.approx(1 - perceptface.APART * 0.4)


def test_two_secrets_are_all_that_is_wanted() -> None:
    assert asked(OTHER, NOBODY) == {"astray": 0, "hiding": 0, "linked": 0}


def test_another_secret_hides_the_face_and_is_astray() -> None:
    assert asked(NOBODY, OTHER) == {"astray": 1, "hiding": 0, "linked": 0}


def test_one_other_twice_is_linked() -> None:
    found = asked(OTHER, OTHER)
    assert found["hiding"] == 0
    assert found["linked"] > 0.5


def test_secrets_are_two_of_those_most_like_the_person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perceptface, "FITTING", 2)
    nothing = torch.zeros(2, 1, 1, 1)
    seen = Batch(nothing, nothing, nothing, torch.zeros(2, 5, 2), {"one": torch.stack((ONE, ONE))})
    near = torch.nn.functional.normalize(ONE + OTHER, dim=0)
    bank = Identity({"one": torch.stack((NOBODY, near, ONE, OTHER))})
    for seed in range(4):
        found = perceptface.secrets(seen, bank, torch.Generator().manual_seed(seed)).vectors["one"]
        assert sorted((found @ ONE).tolist()) == pytest.approx(sorted((float(near @ ONE), 1.0)))
