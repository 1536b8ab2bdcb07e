"""Attackers learn from pairs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks import attackers
from benchmarks.attackers import DRAWING, READING, Decoder, Owned
from core.networks import Networks


@pytest.fixture(scope="module")
def owned(networks: Networks) -> Owned:
    """Personas, and the same with most of their contrast gone."""
    some = networks.personas[:8]
    original = torch.from_numpy(np.stack([p.image for p in some])).permute(0, 3, 1, 2).float() / 255
    marks = torch.from_numpy(np.stack([p.landmarks for p in some]))
    return Owned(0.45 + 0.1 * original.flip(1), original, marks)


def test_who_owns_pairs_learns_to_read_originals(
    owned: Owned, networks: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attackers, "READING", replace(READING, steps=6, rounds=0))
    (start,) = (e for e in networks.encoders if e.name == "student-residual")
    learner = attackers.reader(start, owned)
    who = start.identity(owned.original, owned.marks)
    before, after = ((e.identity(owned.protected, owned.marks) * who).sum(1).mean() for e in (start, learner))
    assert after > before + 0.05


def test_who_owns_pairs_learns_to_draw_originals(
    owned: Owned, networks: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attackers, "DRAWING", replace(DRAWING, steps=12, batch=4, rounds=0))
    (eye,) = (e for e in networks.encoders if e.name == "student-residual")
    untaught, taught = Decoder(networks), attackers.decoder(owned, eye, networks)
    errors = [(net(owned.protected) - owned.original).abs().mean() for net in (untaught, taught)]
    assert errors[1] < 0.9 * errors[0]


def test_many_pairs_take_more_steps() -> None:
    assert READING.length(8) == READING.steps
    assert READING.length(2000) == READING.rounds * 2000 // READING.batch > READING.steps
