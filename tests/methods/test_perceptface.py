"""What is particular to `perceptface`: one pass, and a secret that decides where it leads."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from core.errors import ConfigurationError
from core.methods import perceptface
from core.networks import Networks
from core.networks.generator import Generator
from core.pipeline import Request, attempt
from core.stages.align import AlignedFaces
from core.stages.validate import Photo


@pytest.fixture(scope="module")
def untrained() -> Generator:
    """One that changes something, which a fresh one does not."""
    torch.manual_seed(0)
    net = Generator().eval().requires_grad_(False)
    torch.nn.init.normal_(net.leave.weight, std=0.05)
    return net


def protected(faces: AlignedFaces, networks: Networks, seed: int) -> torch.Tensor:
    config = perceptface.PRESETS["standard"]
    made = perceptface.protect(faces, networks, config, torch.Generator().manual_seed(seed), lambda *_: None)
    return made.images[0]


def test_an_untrained_generator_changes_nothing(faces: AlignedFaces, networks: Networks) -> None:
    fresh = dataclasses.replace(networks, generator=Generator().eval())
    assert torch.allclose(protected(faces, fresh, 1), faces.images, atol=1e-6)


def test_the_secret_decides_the_direction(faces: AlignedFaces, networks: Networks, untrained: Generator) -> None:
    panel = dataclasses.replace(networks, generator=untrained)
    one, two = (protected(faces, panel, seed) - faces.images for seed in (1, 2))
    assert one.abs().max() > 0.01
    assert (one - two).abs().max() > 0.01


def test_a_drawn_seed_is_kept_nowhere(astronaut: Photo, networks: Networks, untrained: Generator) -> None:
    """It is the secret: who had it could make pairs to learn the map from."""
    panel = dataclasses.replace(networks, generator=untrained)
    drawn, given = (
        attempt(astronaut, Request("perceptface", seed=seed), panel, lambda *_: None).report["seed"]
        for seed in (None, 7)
    )
    assert drawn is None
    assert given == 7


def test_a_bundle_without_a_generator_says_so(faces: AlignedFaces, networks: Networks) -> None:
    with pytest.raises(ConfigurationError, match="generator"):
        protected(faces, dataclasses.replace(networks, generator=None), 1)


def test_it_survives_saving(untrained: Generator, tmp_path: Path) -> None:
    untrained.save_pretrained(tmp_path / "generator")
    loaded = Generator.load(tmp_path / "generator", torch.device("cpu"))
    assert loaded is not None
    z, e, k = torch.randn(1, 16, 32, 32), torch.randn(1, 128), torch.randn(1, loaded.secret_dim)
    assert torch.allclose(loaded(z, e, k), untrained(z, e, k), atol=1e-5)
    (tmp_path / "generator" / "config.json").write_text("{")
    with pytest.raises(ConfigurationError, match="generator"):
        Generator.load(tmp_path / "generator", torch.device("cpu"))
    assert Generator.load(tmp_path / "none", torch.device("cpu")) is None
