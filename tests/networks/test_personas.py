"""The persona bank of the bundle."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from core.networks import Networks


def test_bank_is_large_and_balanced(networks: Networks) -> None:
    names = {p.name for p in networks.personas if not p.name.endswith("-mirrored")}
    assert len(names) >= 48
    presenting = [p.traits.presentation for p in networks.personas]
    assert 0.3 < np.mean(np.array(presenting) > 0) < 0.7


def test_mirroring_twice_is_nothing(networks: Networks) -> None:
    persona = networks.personas[0]
    again = persona.mirrored().mirrored()
    assert (again.image == persona.image).all()
    assert np.allclose(again.landmarks, persona.landmarks, atol=1e-4)
    assert again.traits == persona.traits


def test_no_persona_matches_a_public_domain_portrait(networks: Networks) -> None:
    """Whoever was a source of whom: no persona matches anybody among the portraits at FAR 1e-3 more often than
    strangers do, and none of its own sources (checked when it was made, by every teacher)."""
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
    assert float((vectors @ sources.T >= encoder.thresholds[1e-3]).float().mean()) < 0.02
