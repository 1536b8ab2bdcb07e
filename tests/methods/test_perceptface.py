"""What is particular to `perceptface`: one forward pass, a secret for each protection, no more change than it takes."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from core.errors import ConfigurationError
from core.methods import perceptface
from core.networks import Networks
from core.stages.align import AlignedFaces
from core.stages.decouple import identify
from core.stages.generate import LIMIT
from core.stages.optimise import Protected


def protect(faces: AlignedFaces, networks: Networks, seed: int = 1, **changes: object) -> Protected:
    config = dataclasses.replace(perceptface.PRESETS["standard"], **changes)  # type: ignore[arg-type]
    return perceptface.protect(faces, networks, config, torch.Generator().manual_seed(seed), lambda *_: None)


def test_nothing_is_optimised_and_no_pixel_moves_far(faces: AlignedFaces, networks: Networks) -> None:
    made = protect(faces, networks)
    assert made.steps == 0
    assert made.personas == ()
    moved = (made.images[0] - faces.images).abs()
    assert 0 < moved.max() < LIMIT
    assert moved[..., :8, :].max() == 0


def test_the_least_strength_that_holds_is_taken(faces: AlignedFaces, networks: Networks) -> None:
    """With nothing to reach any change holds, and the search ends at the first strength."""
    first = protect(faces, networks, aim=-10.0, confirmation=-10.0, strengths=(0.1, 1.0))
    alone = protect(faces, networks, aim=-10.0, confirmation=-10.0, strengths=(0.1,))
    assert torch.equal(first.images[0], alone.images[0])


def test_where_nothing_holds_the_least_recognised_is_given(faces: AlignedFaces, networks: Networks) -> None:
    hopeless = dataclasses.replace(perceptface.PRESETS["standard"], aim=0.9999, confirmation=0.9999)
    weak, strong = (
        protect(faces, networks, aim=0.9999, confirmation=0.9999, strengths=s).images[0] for s in ((0.1,), (0.1, 1.0))
    )
    identity = identify(networks.encoders, faces.images, faces.landmarks)
    known = perceptface.recognised(torch.stack((weak, strong)), faces, identity, networks, hopeless)
    assert 1 < known[1, 0] < known[0, 0]


def test_two_protections_differ_in_all_of_the_face(faces: AlignedFaces, networks: Networks) -> None:
    """The change is no function of the photo: what two secrets draw has little in common."""
    one, two = (protect(faces, networks, seed=s, secrets=1, strengths=(1.0,)).images[0] - faces.images for s in (1, 2))
    alike = torch.nn.functional.cosine_similarity(one.flatten(), two.flatten(), dim=0)
    assert alike < 0.95


def test_without_a_generator_it_says_so(faces: AlignedFaces, networks: Networks) -> None:
    with pytest.raises(ConfigurationError, match="generator"):
        protect(faces, dataclasses.replace(networks, generator=None))
