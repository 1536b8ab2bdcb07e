"""What is particular to `id2face`: a face becomes somebody else each time, and nobody twice."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from core.methods import id2face
from core.networks import Networks
from core.networks.personas import MIRRORED, plain, unlike
from core.objectives import structure
from core.stages.align import AlignedFaces, align, stored
from core.stages.decouple import Appearance, Identity, decouple, identify, identify_personas
from core.stages.generate import Turning
from core.stages.optimise import Protected
from core.stages.recompose import Recomposed, wear
from core.stages.regions import face_masks
from core.stages.validate import Photo

VARIANTS = 3


@pytest.fixture(scope="module")
def made(faces: AlignedFaces, networks: Networks) -> Protected:
    config = dataclasses.replace(id2face.PRESETS["standard"], variants=VARIANTS)
    return id2face.protect(faces, networks, config, torch.Generator().manual_seed(1), lambda *_: None)


def test_no_network_takes_a_variant_for_the_source_or_for_another_variant(
    faces: AlignedFaces, networks: Networks, made: Protected
) -> None:
    shown = torch.cat([stored(faces, images) for images in (faces.images, *made.images)])
    read = identify(networks.encoders, shown, faces.landmarks.repeat(1 + VARIANTS, 1, 1))
    for encoder in networks.encoders:
        cosine = read.vectors[encoder.name] @ read.vectors[encoder.name].T
        cosine.fill_diagonal_(-1)
        assert cosine.max() < encoder.thresholds[1e-2]


def test_turning_machines_away_leaves_the_persona(faces: AlignedFaces, made: Protected) -> None:
    for turned, start in zip(made.images, made.starts, strict=True):
        assert 1 - structure(turned, start.images, face_masks(faces.landmarks)) < 0.14


def test_without_a_generator_faces_are_their_personas(faces: AlignedFaces, networks: Networks) -> None:
    bare = dataclasses.replace(networks, generator=None)
    made = id2face.protect(faces, bare, id2face.Config(), torch.Generator().manual_seed(1), lambda *_: None)
    assert made.steps == 0
    assert torch.equal(made.images[0], made.starts[0].images)


def test_no_face_gets_a_persona_twice(made: Protected) -> None:
    names = [name for start in made.starts for name in start.personas[0].replace(MIRRORED, "").split("+")]
    assert len(set(names)) == len(names) >= VARIANTS


def test_the_nearest_to_anybody_is_avoided(networks: Networks) -> None:
    def at(*degrees: float) -> Identity:
        """Unit vectors at these angles, in every encoder's eyes."""
        angles = torch.tensor(degrees).deg2rad()
        return Identity(
            dict.fromkeys((e.name for e in networks.encoders), torch.stack((angles.cos(), angles.sin()), 1))
        )

    strictest = min(e.thresholds[1e-2] for e in networks.encoders)
    faces, source, other = at(90, 0, 60), at(90), at(0)
    for whom, nearest in (([source], [1.0, 0.0, 0.866]), ([source, other], [1.0, 1.0, 0.866])):
        near = id2face.nearness(faces, whom, networks) * strictest
        assert near.tolist() == pytest.approx(nearest, abs=1e-3)


def test_the_first_that_is_safe_is_taken(networks: Networks) -> None:
    config, bare = id2face.Config(margin=0.1), dataclasses.replace(networks, generator=None)
    for near, alone, turned in (
        ([0.9, 0.65, 0.1], [1, 2, 0], [0, 1, 2]),
        ([0.9, 0.75, 0.8], [1, 2, 0], [0, 1, 2]),
        ([1.9, 1.5, 1.3], [2, 1, 0], [2, 1, 0]),
    ):
        assert id2face.by_safety(torch.tensor(near), [0, 1, 2], config, bare) == alone
        assert id2face.by_safety(torch.tensor(near), [0, 1, 2], config, networks) == turned
        assert id2face.by_safety(torch.tensor(near), [0, 2], config, networks) == [n for n in turned if n != 1]


@pytest.mark.parametrize("variants", [1, 2])
def test_only_a_single_face_is_as_red_from_place_to_place_as_the_photos(
    faces: AlignedFaces, networks: Networks, monkeypatch: pytest.MonkeyPatch, variants: int
) -> None:
    """Several would match one another by it, as by open eyes."""
    asked: list[Appearance] = []
    monkeypatch.setattr(id2face, "draw_candidates", lambda _, appearance, *__: asked.append(appearance))
    monkeypatch.setattr(id2face, "Casting", lambda *_: None)
    monkeypatch.setattr(id2face, "cast", lambda *_: None)
    id2face.protect(faces, networks, id2face.Config(variants=variants), torch.Generator(), lambda *_: None)
    assert [appearance.flushed for appearance in asked] == [variants == 1]
    assert not asked[0].eyes.any()


def test_candidates_are_unlike_one_another_and_mixed_with_who_is_alike(faces: AlignedFaces, networks: Networks) -> None:
    _, appearance = id2face.split(faces, networks)
    config, bank = id2face.Config(), {p.plain: p for p in networks.personas}
    drawn = id2face.draw_candidates(faces, appearance, networks.personas, config, torch.Generator().manual_seed(2))
    named = [[plain(name) for name in start.personas[0].split("+")] for start in drawn]
    first = [bank[one] for one, *_ in named]
    assert len(drawn) == config.candidates // 2 + 2
    assert len(unlike(first)) > len(first) / 2
    assert all(abs(p.traits.presentation - appearance.traits[0].presentation) < 1 for p in first)
    others = [(bank[one], other) for one, *rest in named for other in rest]
    assert others
    assert all(other in one.alike or other == one.plain for one, other in others)


def test_who_is_still_recognised_gives_way_to_the_next(
    faces: AlignedFaces, networks: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source's own face is a candidate that no look makes somebody else in a single one."""
    own = Recomposed(faces.images, (networks.personas[2].name,), torch.ones(1))
    other = wear(faces, decouple(faces, networks)[1], networks.personas, (networks.personas[0].plain,))
    config = id2face.Config(turning=Turning(aim=0.5, confirmation=0.5, looks=1))
    identity = identify(networks.encoders, faces.images, faces.landmarks)
    monkeypatch.setattr(id2face, "by_safety", lambda near, among, *_: list(among))
    for candidates, taken in (([own, other], 1), ([own], 0)):
        casting = id2face.Casting(candidates, faces, identity, networks, config)
        given, looks = casting.give(0, torch.Generator().manual_seed(1))
        assert given.candidate == taken
        assert looks >= len(candidates) - 1
        assert casting.given == [(taken, 0)]


def test_a_persona_that_is_given_is_the_same_person_in_every_photo(faces: AlignedFaces, networks: Networks) -> None:
    """Whatever the seed: machines are to know the person of two photos by it."""
    config = id2face.Config(personas=(networks.personas[0].plain,))
    one, two = (
        identify(
            networks.encoders,
            id2face.protect(faces, networks, config, torch.Generator().manual_seed(seed), lambda *_: None).images[0],
            faces.landmarks,
        )
        for seed in (1, 2)
    )
    for encoder in networks.encoders:
        assert (one.vectors[encoder.name] * two.vectors[encoder.name]).sum() > encoder.thresholds[1e-3]


def test_faces_of_a_photo_become_different_people(astronaut: Photo, networks: Networks) -> None:
    """Though they are given personas that machines take for one another, in the same picture."""
    twice = align(Photo(np.hstack((astronaut.pixels, astronaut.pixels))), networks.detector, networks.device)
    persona = next(p for p in networks.personas if p.alike)
    config = id2face.Config(personas=(persona.plain, min(persona.alike)))
    given = [wear(twice, decouple(twice, networks)[1], networks.personas, config.personas)]
    identity = identify(networks.encoders, twice.images, twice.landmarks)
    drawn = dataclasses.replace(config, personas=())
    casting = id2face.Casting(given, twice, identity, networks, drawn)
    made = id2face.cast(casting, torch.Generator().manual_seed(1), lambda *_: None)
    assert made.steps > 0
    before, after = (identify(networks.encoders, x, twice.landmarks) for x in (given[0].images, made.images[0]))
    for encoder in networks.encoders:
        alike, now = (v.vectors[encoder.name] for v in (before, after))
        assert alike[0] @ alike[1] > encoder.thresholds[1e-2] > now[0] @ now[1]


def test_a_face_is_turned_towards_the_personas_that_it_wears(faces: AlignedFaces, networks: Networks) -> None:
    identity, appearance = id2face.split(faces, networks)
    config, generator = id2face.Config(), torch.Generator().manual_seed(3)
    candidates = id2face.draw_candidates(faces, appearance, networks.personas, config, generator)
    casting = id2face.Casting(candidates, faces, identity, networks, config)
    people = [p for p in networks.personas if p.name == p.plain]
    everybody = identify_personas(networks.surrogates, people).vectors
    for n, candidate in enumerate(candidates):
        for name, vectors in casting.target(n, 0).vectors.items():
            nearest = people[int((vectors @ everybody[name].T).argmax())]
            assert nearest.plain in candidate.personas[0].replace(MIRRORED, "").split("+")


def test_a_single_variant_is_not_turned_towards_what_all_candidates_share(
    faces: AlignedFaces, networks: Networks
) -> None:
    identity, appearance = id2face.split(faces, networks)
    config, generator = id2face.Config(), torch.Generator().manual_seed(3)
    candidates = id2face.draw_candidates(faces, appearance, networks.personas, config, generator)

    def shared(variants: int) -> float:
        asked = dataclasses.replace(config, variants=variants)
        casting = id2face.Casting(candidates, faces, identity, networks, asked)
        common = casting.made_of(range(len(candidates)), 0)
        cosines = [
            torch.cosine_similarity(vectors, common[name]).item()
            for n in range(len(candidates))
            for name, vectors in casting.target(n, 0).vectors.items()
        ]
        return sum(cosines) / len(cosines)

    assert abs(shared(1)) < 0.2
    assert shared(2) > 0.5
