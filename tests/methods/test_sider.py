"""What is particular to `sider`: how surrogates and the referee steer the search."""

from __future__ import annotations

import dataclasses
from copy import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from core.methods import sider
from core.networks import Networks
from core.stages.align import AlignedFaces, stored
from core.stages.decouple import cosines, decouple
from core.stages.optimise import Descent, blur, draw
from core.stages.recompose import Recomposed, by_fit, recompose


@pytest.fixture(scope="module")
def panel(networks: Networks) -> Networks:
    """One surrogate and one referee, to be quick."""
    first, second = networks.surrogates[:2]
    referee = copy(second)
    referee.role = "referee"
    return dataclasses.replace(networks, encoders=(first, referee))


def protected(faces: AlignedFaces, panel: Networks, **changes: float) -> dict[str, float]:
    """Cosine to the source by role, on stored pixels."""
    config = dataclasses.replace(sider.PRESETS["natural"], margin=0.2, aim=0.2, lift=0.2, ceiling=0.8, **changes)
    made = sider.protect(faces, panel, config, torch.Generator().manual_seed(1), lambda *_: None)
    identity, _ = decouple(faces, panel)
    with torch.no_grad():
        found = cosines(panel.encoders, stored(faces, made.images[0]), faces.landmarks, identity)[:, 0, 0]
    return {e.role: float(c) for e, c in zip(panel.encoders, found, strict=True)}


def test_an_unconvinced_referee_raises_the_aim(faces: AlignedFaces, panel: Networks) -> None:
    content, doubtful = (protected(faces, panel, confirmation=c) for c in (-10.0, 0.99))
    (surrogate,) = panel.surrogates
    assert surrogate.required(0.2) <= content["surrogate"] < surrogate.required(0.8) <= doubtful["surrogate"]
    assert doubtful["referee"] > content["referee"]


def ranked(faces: AlignedFaces, prospects: tuple[float, float], alike: tuple[float, float], unlike: float) -> list[str]:
    """The order of two looks with these prospects that people find so much like the source; mirrored and upside down
    a face is nearly itself, in other drawings."""
    n = len(faces)
    one, other = (
        Recomposed(faces.images.flip(axis), (name,) * n, torch.full((n,), a))
        for axis, name, a in zip((-1, -2), ("one", "other"), alike, strict=True)
    )
    config, masks = sider.Config(variants=2, unlike=unlike), torch.ones(n, 1, 256, 256)
    prospect = torch.tensor(prospects)[:, None].expand(2, n)
    orders = [
        [r.personas for r in sider.promising(starts, found, masks, config)]
        for starts, found in (([one, other], prospect), ([other, one], prospect.flip(0)))
    ]
    assert orders[0] == orders[1]
    assert all(set(names) == {names[0]} for names in orders[0])
    return [names[0] for names in orders[0]]


def test_each_face_gets_the_persona_with_the_best_prospects(faces: AlignedFaces) -> None:
    assert ranked(faces, (0.6, 0.5), (0.5, 0.5), 3.0) == ["one", "other"]


def test_no_two_faces_of_a_photo_get_one_persona_while_there_are_others(faces: AlignedFaces) -> None:
    images = torch.cat((faces.images, faces.images))
    alike, best = torch.tensor((0.1, 0.1)), torch.tensor([[0.6, 0.6], [0.5, 0.5], [0.4, 0.4]])
    starts = [
        Recomposed(images.flip(axis), names, alike)
        for axis, names in ((-1, ("one", "one-mirrored")), (-2, ("two", "two")), ((-1, -2), ("three", "three")))
    ]
    masks = torch.ones(2, 1, 256, 256)
    (made,) = sider.promising(starts, best, masks, sider.Config())
    assert made.personas == ("one", "two")
    starts[1:] = [dataclasses.replace(start, alike=torch.tensor((0.1, 0.9))) for start in starts[1:]]
    (made,) = sider.promising(starts, best, masks, sider.Config())
    assert made.personas == ("one", "one-mirrored")  # rather than one that might be taken for the source


def test_likeness_to_the_source_counts_against_a_persona(faces: AlignedFaces) -> None:
    assert ranked(faces, (0.6, 0.5), (0.6, 0.1), 0.0) == ["one", "other"]
    assert ranked(faces, (0.6, 0.5), (0.6, 0.1), 10.0) == ["other", "one"]


def test_a_persona_that_looks_like_the_source_comes_last(faces: AlignedFaces) -> None:
    assert ranked(faces, (0.6, 0.5), (0.8, 0.5), 0.0) == ["other", "one"]


def test_prospects_tell_where_two_steps_lead(faces: AlignedFaces, panel: Networks) -> None:
    """Upside down there is a way to go, and the source itself remains ahead."""
    identity, appearance = decouple(faces, panel)

    def prospect(images: Tensor) -> tuple[float, float]:
        start = Recomposed(images, ("",), torch.zeros(1))
        search = sider.Search(sider.Source(faces, identity, appearance, panel, sider.Config()), start)
        before = search.source.share(search.source.read(images))
        return float(before), float(search.prospect(torch.Generator().manual_seed(1)))

    (_, own), (before, after) = prospect(faces.images), prospect(faces.images.flip(-2))
    assert before < after < own


def test_a_hard_face_is_asked_for_less_likeness_in_the_end(faces: AlignedFaces, panel: Networks) -> None:
    identity, appearance = decouple(faces, panel)
    start = Recomposed(faces.images.flip(-1), ("",), torch.zeros(1))
    for ease in (0.0, 0.5):
        search = sider.Search(sider.Source(faces, identity, appearance, panel, sider.Config(ease=ease)), start)
        u, found = search.zero + 0.003, []
        for search.step in (0, sider.PATIENCE[0] - 1, sider.PATIENCE[1]):
            found.append(float(search.objective(u, torch.Generator().manual_seed(1))))
        begun, patient, eased = found
        assert begun == patient
        assert (eased < patient) == (ease > 0)


def test_draws_lie_where_features_of_the_persona_are_found(
    faces: AlignedFaces, panel: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity, appearance = decouple(faces, panel)
    [start] = recompose(faces, appearance, [by_fit(appearance.traits[0], panel.personas)], needed=1, tried=1)
    config = dataclasses.replace(sider.PRESETS["natural"], descent=Descent(steps=3))
    search = sider.Search(sider.Source(faces, identity, appearance, panel, config), start)
    drawn: list[Tensor] = []

    def drawing(images: Tensor, landmarks: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
        drawn.append(landmarks)
        return draw(images, landmarks, *rest)

    monkeypatch.setattr(sider, "draw", drawing)
    search.run(torch.Generator().manual_seed(1), lambda _: None)
    found = panel.detector.refine(start.images, faces.landmarks)
    assert (found - faces.landmarks).abs().max() > 0.5
    assert len(drawn) == 3
    assert all(torch.equal(landmarks, found) for landmarks in drawn)


def test_no_change_is_as_fine_as_a_line(faces: AlignedFaces, panel: Networks) -> None:
    identity, appearance = decouple(faces, panel)
    start = Recomposed(faces.images, ("own",) * len(faces), torch.ones(len(faces)))

    def fine_share(softness: float) -> Tensor:
        config = sider.Config(softness=softness, limit=1.0)
        search = sider.Search(sider.Source(faces, identity, appearance, panel, config), start)
        drawn = torch.randn(search.zero.shape, generator=torch.Generator().manual_seed(2))
        change = search.render(0.02 * drawn) - faces.images
        return (change - blur(change, 1.5)).square().mean() / change.square().mean()

    assert fine_share(sider.Config().softness) < fine_share(0.0) / 4
