"""Whom machines are to take a face for."""

from __future__ import annotations

import torch

from core.networks import Networks
from core.networks.personas import Traits
from core.stages.align import AlignedFaces
from core.stages.decouple import decouple, identify_personas
from core.stages.target import Targets, draw_fitting_targets, people_like


def draw(faces: list[Traits], networks: Networks, fitting: int, seed: int = 0) -> Targets:
    (targets,) = draw_fitting_targets(faces, networks, fitting, 1, torch.Generator().manual_seed(seed))
    return targets


def test_each_face_has_its_own_in_each_variant(faces: AlignedFaces, networks: Networks) -> None:
    (traits,) = decouple(faces, networks)[1].traits
    drawn = draw_fitting_targets([traits] * 2, networks, 10, 5, torch.Generator().manual_seed(0))
    names = {p.plain for p in people_like(traits, networks.personas, 10)}
    assert sorted(p.plain for targets in drawn for p in targets.personas) == sorted(names)
    assert len(draw([traits] * 3, networks, 2).personas) == 3  # more faces than people


def test_it_is_one_of_those_who_are_like_the_person(faces: AlignedFaces, networks: Networks) -> None:
    (traits,) = decouple(faces, networks)[1].traits
    nearest = {p.name for p in people_like(traits, networks.personas, 3)}
    drawn = [draw([traits], networks, 3, seed) for seed in range(12)]
    assert {persona.name for targets in drawn for persona in targets.personas} == nearest


def test_what_is_aimed_at_is_the_persona_and_not_what_all_who_are_like_the_person_share(
    faces: AlignedFaces, networks: Networks
) -> None:
    (traits,) = decouple(faces, networks)[1].traits
    people = people_like(traits, networks.personas, 3)
    drawn = draw([traits] * 4, networks, 3)
    for name, vectors in identify_personas(networks.surrogates, people).vectors.items():
        nearest = (drawn.identity.vectors[name] @ vectors.T).argmax(1)
        assert [people[k].name for k in nearest.tolist()] == [p.name for p in drawn.personas]
        assert (drawn.identity.vectors[name] @ vectors.mean(0)).abs().max() < 0.3


def test_people_like_somebody_are_of_one_presentation_whatever_their_smile(
    faces: AlignedFaces, networks: Networks
) -> None:
    (traits,) = decouple(faces, networks)[1].traits
    assert traits.presentation == -1
    assert all(p.traits.presentation < 0 for p in people_like(traits, networks.personas, 10))


def test_of_people_like_somebody_none_is_taken_for_another(faces: AlignedFaces, networks: Networks) -> None:
    (traits,) = decouple(faces, networks)[1].traits
    found = people_like(traits, networks.personas, 1000)
    names = {p.plain for p in found}
    assert 10 < len(found) == len(names) < len(networks.personas) / 4
    assert not any(p.alike & names for p in found)
