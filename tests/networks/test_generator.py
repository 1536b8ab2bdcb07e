"""The generator: what steers it, what it needs, saving and loading."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from core.errors import ConfigurationError
from core.networks.generator import Generator, load

CPU = torch.device("cpu")


@pytest.fixture
def untrained() -> Generator:
    torch.manual_seed(0)
    net = Generator(("one", "two"), 12, secret_dim=6, latent_channels=4, side=8, width=16)
    for block in (*net.before, *net.inside, *net.after):  # as if it had been trained: blocks begin as identities
        torch.nn.init.normal_(block.conv2.weight, std=0.1)
    return net.eval().requires_grad_(False)


def test_latents_identity_and_secret_all_matter(untrained: Generator) -> None:
    generator = torch.Generator().manual_seed(0)
    z, identity = torch.randn(2, 4, 8, 8), torch.nn.functional.normalize(torch.randn(2, 12), dim=1)
    secret, other = untrained.secrets(4, generator).split(2)
    made = untrained(z, identity, secret)
    assert made.shape == z.shape
    assert torch.equal(made, untrained(z, identity, secret))
    for changed in ((z.flip(0), identity, secret), (z, identity.flip(0), secret), (z, identity, other)):
        assert not torch.allclose(made, untrained(*changed), atol=1e-4)


def test_secrets_are_directions(untrained: Generator) -> None:
    secrets = untrained.secrets(100, torch.Generator().manual_seed(1))
    assert torch.allclose(secrets.square().mean(1), torch.ones(100), atol=1e-5)
    assert secrets.mean().abs() < 0.2


def test_identity_is_what_its_readers_say(untrained: Generator) -> None:
    one, two = torch.randn(1, 5), torch.randn(1, 7)
    assert torch.equal(untrained.identity({"two": two, "else": one, "one": one}), torch.cat((one, two), 1))
    with pytest.raises(ConfigurationError, match="two"):
        untrained.identity({"one": one})


def test_it_survives_saving_in_half_precision(untrained: Generator, tmp_path: Path) -> None:
    z, identity, secret = torch.randn(1, 4, 8, 8), torch.randn(1, 12), torch.randn(1, 6)
    made = untrained(z, identity, secret)
    untrained.half().save_pretrained(tmp_path / "generator")
    loaded = load(tmp_path / "generator", CPU)
    assert loaded is not None
    assert loaded.readers == ("one", "two")
    assert torch.allclose(loaded(z, identity, secret), made, atol=1e-3)


def test_absent_is_none_and_broken_is_an_error(untrained: Generator, tmp_path: Path) -> None:
    assert load(tmp_path / "generator", CPU) is None
    untrained.save_pretrained(tmp_path / "generator")
    (tmp_path / "generator" / "config.json").write_text("{")
    with pytest.raises(ConfigurationError, match="generator"):
        load(tmp_path / "generator", CPU)
