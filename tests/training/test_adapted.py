"""An attacker's encoder learns from pairs, and is packaged as a bundle loads it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from core.licence import LicenceClass
from core.networks import Networks
from core.networks.bundle import MANIFEST, PACKAGED, digest
from training import adapted
from training.adapted import Owned, adapt, beginner, package


@pytest.fixture(scope="module")
def owned(networks: Networks) -> Owned:
    """Personas, and the same with most of their contrast gone."""
    some = networks.personas[:8]
    original = torch.from_numpy(np.stack([p.image for p in some])).permute(0, 3, 1, 2).float() / 255
    marks = torch.from_numpy(np.stack([p.landmarks for p in some]))
    return Owned(0.45 + 0.1 * original.flip(1), original, marks)


def test_who_owns_pairs_learns_to_read_originals(owned: Owned, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapted, "STEPS", 6)
    start = beginner()
    learner = adapt(start, owned)
    who = start.identity(owned.original, owned.marks)
    before, after = ((e.identity(owned.protected, owned.marks) * who).sum(1).mean() for e in (start, learner))
    assert after > before + 0.05


def test_it_is_packaged_as_a_bundle_loads_it(owned: Owned, tmp_path: Path) -> None:
    bundle = shutil.copytree(PACKAGED, tmp_path / "mini")
    start = beginner()
    package(start, bundle)
    manifest = json.loads((bundle / MANIFEST).read_text())
    manifest["files"] |= {
        path.relative_to(bundle).as_posix(): {"sha256": digest(path), "licence_class": "research"}
        for path in (bundle / "adapted").iterdir()
    }
    (bundle / MANIFEST).write_text(json.dumps(manifest))
    (loaded,) = Networks.load(str(bundle), "cpu").adapted
    assert loaded.role == "surrogate"
    read = [e.identity(owned.original, owned.marks) for e in (start, loaded)]
    assert torch.allclose(*read, atol=1e-3)
    assert Networks.load(str(bundle), "cpu", LicenceClass.clean).adapted == ()
