"""Personas fit and stay inside the mask."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.color import rgb2lab

from core import objectives
from core.errors import RequestRefused
from core.looks import BANDS, Age, Look, Presenting
from core.networks import Networks, Persona
from core.stages import recompose as recomposition
from core.stages.align import AlignedFaces
from core.stages.decouple import Appearance, decouple, to_arrays
from core.stages.recompose import (
    RECOGNISABLE,
    Recomposed,
    by_fit,
    choose,
    distinct,
    fitting,
    recompose,
    wear,
)
from core.stages.regions import face_mask, frame


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(appearance: Appearance, bank: tuple[Persona, ...], generator: torch.Generator) -> list[list[Persona]]:
    """Candidates for each face."""
    return [choose(by_fit(traits, bank), 1, generator) for traits in appearance.traits]


def test_the_same_seed_draws_the_same_personas_and_variants_differ(faces: AlignedFaces, networks: Networks) -> None:
    traits = decouple(faces, networks)[1].traits[0]
    first = [p.name for p in choose(by_fit(traits, networks.personas), 4, seeded(3))]
    assert first == [p.name for p in choose(by_fit(traits, networks.personas), 4, seeded(3))]
    assert len({name.removesuffix("-mirrored") for name in first}) == len(first) >= 4
    drawn = {choose(by_fit(traits, networks.personas), 1, seeded(s))[0].name for s in range(12)}
    assert len(drawn) > 1


def test_personas_fit_presentation_and_tone(faces: AlignedFaces, networks: Networks) -> None:
    traits = decouple(faces, networks)[1].traits[0]
    assert traits.presentation < 0
    for persona in choose(by_fit(traits, networks.personas), 4, seeded()):
        assert persona.traits.presentation < 0
        assert abs(persona.traits.tone[0] - traits.tone[0]) < 30


def test_open_eyes_stay_the_photo_s_own_in_all_but_colour(faces: AlignedFaces, networks: Networks) -> None:
    """A persona's, the mean of six people's, have neither gaze nor light."""
    appearance = decouple(faces, networks)[1]
    [start] = recompose(faces, appearance, drawn(appearance, networks.personas, seeded(1)), needed=1, tried=1)
    own = appearance.eyes[0, 0].numpy() == 1
    before, after = (rgb2lab(to_arrays(x)[0])[own] for x in (faces.images, start.images))
    assert own.sum() > 50
    assert np.abs(after - before)[:, 0].max() < 2
    assert np.abs(after - before)[:, 1:].max() > 4


def test_men_s_beards_go_on_and_women_s_hands_and_strands_do_not(faces: AlignedFaces, networks: Networks) -> None:
    specks = gaussian_filter(np.random.default_rng(0).normal(size=(256, 256)), 0.7)
    lower = frame(faces.landmarks[0].numpy())[1] > 0.8
    rough = replace(faces, images=faces.images + torch.from_numpy(0.1 * specks * lower).float())
    appearance = decouple(faces, networks)[1]

    def worn(presentation: float) -> NDArray[np.float32]:
        seen = replace(appearance, traits=(replace(appearance.traits[0], presentation=presentation),))
        return to_arrays(wear(rough, seen, networks.personas, ("003",)).images)[0]

    chin = (face_mask(faces.landmarks[0].numpy()) > 0.5) & (frame(faces.landmarks[0].numpy())[1] > 1.25)
    changes = (worn(0.5) - worn(-0.5)).mean(-1)[chin]
    assert np.corrcoef(changes, specks[chin])[0, 1] > 0.8


def test_a_recomposed_face_is_another_drawing_in_the_same_light(faces: AlignedFaces, networks: Networks) -> None:
    appearance = decouple(faces, networks)[1]
    [start] = recompose(faces, appearance, drawn(appearance, networks.personas, seeded(1)), needed=1, tried=1)
    mask, alike = appearance.masks, objectives.likeness(start.images, faces.images, appearance.features)
    assert start.alike.tolist() == alike.tolist()
    assert float(alike) <= RECOGNISABLE
    mean = [((x * mask).sum() / mask.sum()).item() for x in (start.images, faces.images)]
    assert abs(mean[0] - mean[1]) < 0.15


@pytest.mark.parametrize(("presentation", "side"), [(Presenting.feminine, -1), (Presenting.masculine, 1)])
def test_a_presentation_that_is_asked_for_is_given_whatever_the_face_has(
    faces: AlignedFaces, networks: Networks, presentation: Presenting, side: int
) -> None:
    traits = decouple(faces, networks)[1].traits[0]
    found = choose(by_fit(*fitting(traits, networks.personas, Look(presentation))), 4, seeded())
    assert len(found) >= 4
    for persona in found:
        assert persona.traits.presentation * side > 0


@pytest.mark.parametrize("age", BANDS)
def test_an_age_that_is_asked_for_is_given_however_old_the_face_looks(
    faces: AlignedFaces, networks: Networks, age: Age
) -> None:
    traits = decouple(faces, networks)[1].traits[0]
    youngest, older = BANDS[age]
    found = choose(by_fit(*fitting(traits, networks.personas, Look(age=age))), 4, seeded())
    assert len(found) >= 4
    for persona in found:
        assert youngest <= persona.traits.age < older


def test_personas_are_about_as_old_as_the_face_unless_any_age_will_do(faces: AlignedFaces, networks: Networks) -> None:
    traits, bank = decouple(faces, networks)[1].traits[0], networks.personas

    def off(own: float, age: Age) -> float:
        asked = fitting(replace(traits, age=own), bank, Look(age=age))
        ages = {p.name: p.traits.age for p in bank}
        return float(np.mean([abs(ages[p.name] - own) for p in choose(by_fit(*asked), 6, seeded())]))

    assert off(22.0, Age.any) + off(58.0, Age.any) > off(22.0, Age.keep) + off(58.0, Age.keep) + 10


def test_the_astronaut_looks_as_old_as_she_was(faces: AlignedFaces, networks: Networks) -> None:
    assert 28 < decouple(faces, networks)[1].traits[0].age < 48  # some year before 42


def test_a_bank_that_is_too_small_is_said_to_be(faces: AlignedFaces, networks: Networks) -> None:
    appearance = decouple(faces, networks)[1]
    with pytest.raises(RequestRefused, match="has 3 personas to choose from, and 4 are needed"):
        recompose(faces, appearance, drawn(appearance, networks.personas[:6], seeded()), needed=4, tried=12)


def test_any_presentation_looks_at_all_else(faces: AlignedFaces, networks: Networks) -> None:
    traits = decouple(faces, networks)[1].traits[0]
    asked, bank = fitting(traits, networks.personas, Look(Presenting.any))
    assert {p.name for p in bank} == {p.name for p in networks.personas}
    other = replace(asked, presentation=-asked.presentation)
    [one, two] = (
        [p.name for p in choose(by_fit(*fitting(t, bank, Look(Presenting.any))), 4, seeded())] for t in (asked, other)
    )
    assert one == two


@pytest.mark.parametrize(
    ("alike", "taken", "tries"),
    [
        ((0.5, 0.5, 0.5, 0.5, 0.5, 0.5), (0, 1, 2), 3),
        ((0.9, 0.5, 0.8, 0.5, 0.9, 0.5), (1, 3, 5), 6),
        ((0.9, 0.5, 0.8, 0.9, 0.8, 0.5), (1, 5, 2), 6),
    ],
)
def test_as_many_personas_are_tried_as_it_takes(
    alike: tuple[float, ...],
    taken: tuple[int, ...],
    tries: int,
    faces: AlignedFaces,
    networks: Networks,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    appearance = decouple(faces, networks)[1]
    candidates = choose(by_fit(appearance.traits[0], networks.personas), 1, seeded())[: len(alike)]
    names, tried = [p.name for p in candidates], []

    def put_on(_: AlignedFaces, __: object, b: int, ___: object, persona: Persona) -> Recomposed:
        tried.append(persona.name)
        looks = torch.tensor([alike[names.index(persona.name)]])
        return Recomposed(faces.images[b : b + 1], (persona.name,), looks)

    monkeypatch.setattr(recomposition, "_put_on", put_on)
    found = recompose(faces, appearance, [candidates], needed=3, tried=3)
    assert [r.personas[0] for r in found] == [names[k] for k in taken]
    assert sorted(tried) == sorted(names[:tries])


def test_a_persona_is_worn_turned_as_the_face_is(faces: AlignedFaces, networks: Networks) -> None:
    appearance = decouple(faces, networks)[1]
    name = networks.personas[0].plain
    ways = {p.name: appearance.traits[0].distance(p.traits) for p in networks.personas if p.plain == name}
    worn = wear(faces, appearance, networks.personas, (name,))
    assert worn.personas == (min(ways, key=lambda way: ways[way]),)
    assert len(ways) == 2


def test_variants_are_not_twins_while_there_are_others(faces: AlignedFaces) -> None:
    face, other = faces.images[:1], faces.images[:1].flip(-2)
    images, mask = torch.cat((face, face, other)), torch.ones(1, 1, 256, 256)
    assert distinct([0, 1, 2], images, mask, 2) == [0, 2]
    assert distinct([0, 1, 2], images, mask, 3) == [0, 2, 1]


def test_where_all_are_twins_the_least_alike_is_taken(faces: AlignedFaces) -> None:
    face = faces.images[:1]
    close, less = (face + face.flip(-1) * share for share in (0.02, 0.1))
    images, mask = torch.cat((face, close, less)), torch.ones(1, 1, 256, 256)
    assert distinct([0, 1, 2], images, mask, 2) == [0, 2]
