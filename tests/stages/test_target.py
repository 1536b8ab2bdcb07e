"""Whom machines are to take a face for."""

from __future__ import annotations

import torch

from core.networks import Networks
from core.stages.align import AlignedFaces
from core.stages.decouple import decouple
from core.stages.recompose import by_fit
from core.stages.target import draw_fitting_targets, draw_targets


def test_each_face_and_each_protection_has_its_own(networks: Networks) -> None:
    first, again, other = (
        [p.name for p in draw_targets(networks.personas, 3, torch.Generator().manual_seed(seed))] for seed in (1, 1, 2)
    )
    assert first == again
    assert len({*first, *other}) == 6


def test_it_is_one_of_those_that_fit_best(faces: AlignedFaces, networks: Networks) -> None:
    (traits,) = decouple(faces, networks)[1].traits
    best = [p.name for p in by_fit(traits, networks.personas)[:3]]
    drawn = [
        draw_fitting_targets(networks.personas, [traits], 3, torch.Generator().manual_seed(seed)) for seed in range(16)
    ]
    assert {persona.name for (persona,) in drawn} == set(best)
