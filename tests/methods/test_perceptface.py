"""What is particular to `perceptface`: a secret for each protection, in a few looks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from core import objectives
from core.errors import RequestRefused
from core.methods import perceptface
from core.networks import Networks
from core.stages.align import AlignedFaces, stored
from core.stages.decouple import cosines, identify
from core.stages.generate import LIMIT, Turning
from core.stages.measure import SAME_LOOK
from core.stages.optimise import Protected
from core.stages.regions import face_masks

HOPELESS = Turning(aim=0.9999, confirmation=0.9999, looks=3)
NOTHING = Turning(aim=-9, confirmation=-9)  # is to be turned away


def protect(faces: AlignedFaces, networks: Networks, turning: Turning, seed: int = 1, mixed: float = 0.2) -> Protected:
    config = perceptface.Config(turning=turning, mixed=mixed)
    return perceptface.protect(faces, networks, config, torch.Generator().manual_seed(seed), lambda *_: None)


def test_the_promise_is_reached_in_a_few_looks_and_no_pixel_moves_far(faces: AlignedFaces, networks: Networks) -> None:
    turning = Turning()
    made = protect(faces, networks, turning, mixed=0)
    assert 0 < made.steps < turning.looks
    assert made.starts == ()
    identity = identify(networks.encoders, faces.images, faces.landmarks)
    read = cosines(networks.encoders, stored(faces, made.images[0]), faces.landmarks, identity)
    assert all(c <= e.allowed(0.2) for c, e in zip(read.flatten(), networks.encoders, strict=True))
    moved = (made.images[0] - faces.images).abs()
    assert 0 < moved.max() < LIMIT
    assert moved[..., :8, :].max() == 0


def test_a_face_is_mixed_with_its_secret_which_people_hardly_see(faces: AlignedFaces, networks: Networks) -> None:
    identity, masks = identify(networks.encoders, faces.images, faces.landmarks), face_masks(faces.landmarks)
    some, more = (protect(faces, networks, NOTHING, mixed=share).images[0] for share in (perceptface.Config().mixed, 1))
    known = [cosines(networks.encoders, face, faces.landmarks, identity).max() for face in (some, more)]
    assert 1 > known[0] > known[1]
    assert objectives.structure(some, faces.images, masks) > SAME_LOOK > objectives.structure(more, faces.images, masks)
    assert not torch.equal(some, protect(faces, networks, NOTHING, seed=2).images[0])


def test_no_preset_hides_a_face_from_people() -> None:
    assert all(preset.turning.kept > SAME_LOOK for preset in perceptface.PRESETS.values())


def test_two_protections_differ_in_all_of_the_face(faces: AlignedFaces, networks: Networks) -> None:
    """The change is no function of the photo: what two secrets draw has little in common."""
    one, two = (protect(faces, networks, HOPELESS, seed).images[0] - faces.images for seed in (1, 2))
    assert torch.nn.functional.cosine_similarity(one.flatten(), two.flatten(), dim=0) < 0.9


def test_without_a_generator_it_says_so(faces: AlignedFaces, networks: Networks) -> None:
    with pytest.raises(RequestRefused, match="generator"):
        protect(faces, replace(networks, generator=None), Turning())
