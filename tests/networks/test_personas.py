"""The persona bank of the bundle."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from core.networks import Networks
from core.networks.bundle import PACKAGED
from core.networks.personas import TABLE, pictures
from core.stages.decouple import identify_personas
from core.stages.regions import face_masks


def test_bank_is_large_and_balanced(networks: Networks) -> None:
    names = {p.name for p in networks.personas if not p.name.endswith("-mirrored")}
    assert len(names) >= 128
    presenting = [p.traits.presentation for p in networks.personas]
    assert 0.3 < np.mean(np.array(presenting) > 0) < 0.7


def test_personas_of_students_look_younger_than_those_of_members_of_congress(networks: Networks) -> None:
    table = json.loads((PACKAGED / "personas" / TABLE).read_text())
    london = {row["name"] for row in table if row["sources"][0].startswith("london_set")}
    ages = {p.name: p.traits.age for p in networks.personas if p.name == p.plain}
    young, old = ([age for name, age in ages.items() if (name in london) is here] for here in (True, False))
    assert np.mean(young) < 33
    assert np.mean(old) > 45
    assert np.percentile(young, 90) < np.percentile(old, 30)


def test_ages_in_the_table_are_those_that_are_read(networks: Networks) -> None:
    some = [p for p in networks.personas if p.name == p.plain][::8]
    (reader,) = (e for e in networks.encoders if e.name == networks.apparent.encoder)
    vectors = identify_personas((reader,), some).vectors[reader.name]
    presentation, age = networks.apparent.read(vectors)
    assert np.abs(age.numpy() - [p.traits.age for p in some]).max() < 1
    assert np.abs(presentation.numpy() - [p.traits.presentation for p in some]).max() < 0.05


def test_who_is_alike_is_alike_to_dlib_as_well(networks: Networks) -> None:
    """The table is made by training.personas, with dlib's and the teachers' networks."""
    people = [p for p in networks.personas if p.name == p.plain]
    (dlib,) = (e for e in networks.encoders if e.name == "dlib")
    vectors = identify_personas((dlib,), people).vectors["dlib"]
    alike = torch.tensor([[other.name in persona.alike for other in people] for persona in people])
    assert (alike == alike.T).all()
    assert not alike.diagonal().any()
    matched = vectors @ vectors.T >= dlib.thresholds[1e-2]
    others = ~alike & ~torch.eye(len(people), dtype=torch.bool)
    assert float(matched[alike].float().mean()) > 5 * float(matched[others].float().mean())


def test_an_encoder_reads_a_persona_once(networks: Networks) -> None:
    encoder, some = copy.deepcopy(networks.encoders[0]), networks.personas[:3]
    with torch.no_grad():
        read = encoder.recall(some)
        assert torch.allclose(read, encoder.identity(*pictures(some, networks.device)), atol=1e-5)
        encoder.net = nn.Identity()  # who asks it again gets something else
        assert torch.equal(encoder.recall(some[:0:-1]), read[[2, 1]])


def test_mirroring_twice_is_nothing(networks: Networks) -> None:
    persona = networks.personas[0]
    again = persona.mirrored().mirrored()
    assert (again.image == persona.image).all()
    assert np.allclose(again.landmarks, persona.landmarks, atol=1e-4)
    assert again.traits == persona.traits


def test_a_frontal_persona_fits_a_turned_face_better_than_a_turned_one_a_frontal(networks: Networks) -> None:
    """What it hides would have to be made up."""
    frontal, left, right = (replace(networks.personas[0].traits, yaw=yaw) for yaw in (0.0, -0.2, 0.2))
    assert left.distance(left) == frontal.distance(frontal) == 0
    assert frontal.distance(left) == frontal.distance(right) > 5 * left.distance(frontal) > 0
    assert left.distance(right) > frontal.distance(right)


def test_no_persona_matches_a_public_domain_portrait(networks: Networks) -> None:
    """Nobody among the portraits is matched at FAR 1e-3 much more often than strangers are."""
    from training import portraits

    try:
        rows = portraits.read(portraits.PUBLIC_DOMAIN)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    encoder = networks.encoders[0]
    images = torch.from_numpy(np.stack([r.pixels() for r in rows])).permute(0, 3, 1, 2)
    marks = torch.tensor(np.stack([r.landmarks for r in rows]), dtype=torch.float32)
    sources = torch.cat(
        [encoder.identity(images[i : i + 32].float() / 255, marks[i : i + 32]) for i in range(0, len(images), 32)]
    )
    bank = [p for p in networks.personas if not p.name.endswith("-mirrored")]
    pictures = torch.from_numpy(np.stack([p.image for p in bank])).permute(0, 3, 1, 2).float() / 255
    vectors = encoder.identity(pictures, torch.from_numpy(np.stack([p.landmarks for p in bank])))
    worst = (vectors @ sources.T).max(1).values
    print(f"closest portrait of each persona: mean {worst.mean():.2f}, worst {worst.max():.2f}")
    assert float((vectors @ sources.T >= encoder.thresholds[1e-3]).float().mean()) <= 1e-3


def test_no_persona_matches_one_of_its_own_sources(networks: Networks) -> None:
    from training import portraits

    try:
        rows = {f"{r.source}/{r.path.stem}": r for r in portraits.read()}
    except FileNotFoundError as error:
        pytest.skip(str(error))
    (dlib,) = (e for e in networks.encoders if e.name == "dlib")
    table = json.loads((PACKAGED / "personas" / TABLE).read_text())
    personas = {p.name: p for p in networks.personas}
    names = sorted({name for row in table for name in row["sources"]})
    marks = torch.tensor(np.stack([rows[n].landmarks for n in names]), dtype=torch.float32)
    with torch.no_grad():
        vectors = torch.cat([dlib.embed(_tensor(rows[n].pixels()), m[None]) for n, m in zip(names, marks, strict=True)])
        for row in table:
            persona = personas[row["name"]]
            landmarks = torch.from_numpy(persona.landmarks)[None]
            # Only the interior is a persona: what is outside the mask is never used.
            mask, image = face_masks(landmarks, grow=0.05), _tensor(persona.image)
            colour = (image * mask).sum((2, 3), keepdim=True) / mask.sum()
            own = vectors[[names.index(n) for n in row["sources"]]]
            assert len(own) == 6
            cosine = own @ dlib.embed(mask * image + (1 - mask) * colour, landmarks)[0]
            assert float(cosine.max()) < dlib.thresholds[1e-3], row["name"]


def _tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
