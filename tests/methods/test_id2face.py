"""What is particular to `id2face`: a face becomes somebody else each time, and nobody twice."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from core.methods import id2face
from core.networks import Networks
from core.stages.align import AlignedFaces
from core.stages.decouple import identify, similarity
from core.stages.optimise import Protected

VARIANTS = 3


@pytest.fixture(scope="module")
def made(faces: AlignedFaces, networks: Networks) -> Protected:
    config = dataclasses.replace(id2face.PRESETS["standard"], variants=VARIANTS)
    return id2face.protect(faces, networks, config, torch.Generator().manual_seed(1), lambda *_: None)


def test_the_first_variant_is_nobody_that_networks_know(
    faces: AlignedFaces, networks: Networks, made: Protected
) -> None:
    """The others may match it: hair and outline stay."""
    own, given = (identify(networks.surrogates, x, faces.landmarks) for x in (faces.images, made.images[0]))
    limits = torch.tensor([e.thresholds[1e-2] for e in networks.surrogates])[:, None, None]
    assert (similarity(given, own) < limits).all()


def test_no_face_gets_a_persona_twice(made: Protected) -> None:
    names = [names[0] for names in made.personas]
    assert len(set(names)) == VARIANTS


def test_the_nearest_to_anybody_is_avoided() -> None:
    to_source = torch.tensor([0.1, 0.9, 0.3])
    between = torch.tensor([[1.0, 0.2, 0.8], [0.2, 1.0, 0.1], [0.8, 0.1, 1.0]])[..., None]
    assert id2face.nearness(to_source, between, []).tolist() == pytest.approx([0.1, 0.9, 0.3])
    assert id2face.nearness(to_source, between, [(0, 0)]).tolist() == pytest.approx([1.0, 0.9, 0.8])


def test_the_first_that_is_safe_is_taken() -> None:
    config = id2face.Config(margin=0.1)
    assert id2face.first_safe(torch.tensor([0.9, 0.65, 0.1]), config) == 1
    assert id2face.first_safe(torch.tensor([0.9, 0.75, 0.8]), config) == 1  # none is: the least near
