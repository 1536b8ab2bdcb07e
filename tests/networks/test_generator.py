"""The generator: what it makes of what it is shown, saving and loading."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from core.errors import ConfigurationError
from core.networks.generator import REACH, STEEPEST, Generator, Look, load, soft

CPU = torch.device("cpu")


def net() -> Generator:
    torch.manual_seed(0)
    return Generator(looks=2, latent_channels=4, side=8, width=16)


@pytest.fixture
def trained() -> Generator:
    """As if it had been: at first every block is the identity and nothing is added to the gradient."""
    made = net()
    for name, weights in made.named_parameters():
        if name.endswith(("conv2.weight", "leave.weight", "steer")):
            torch.nn.init.normal_(weights, std=0.1)
    return made.eval().requires_grad_(False)


@pytest.fixture
def look() -> Look:
    draws = torch.randn(5, 2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    return Look(*draws, places=torch.rand(2, 2, 8, 8, generator=torch.Generator().manual_seed(1)))


@torch.no_grad()
def test_untrained_it_steps_against_what_the_encoders_would_be_turned_away_by(look: Look) -> None:
    step = net()(look, 0)
    assert torch.allclose(step, -REACH * soft(look.wanted), atol=1e-6)


def test_all_that_it_is_shown_matters_and_so_does_which_look_it_is(trained: Generator, look: Look) -> None:
    made = trained(look, 0)
    assert made.shape == look.z.shape
    assert torch.equal(made, trained(look, 0))
    assert not torch.allclose(made, trained(look, 1), atol=1e-5)
    for field in dataclasses.fields(look):
        other = dataclasses.replace(look, **{field.name: getattr(look, field.name).flip(0)})
        assert not torch.allclose(made, trained(other, 0), atol=1e-5), field.name


def test_gradients_of_any_length_say_the_same() -> None:
    gradient = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    gradient[0, 0, 0, 0] = 1e3  # a peak
    assert torch.allclose(soft(gradient), soft(1e-6 * gradient), atol=1e-4)
    assert soft(gradient).abs().max() <= STEEPEST
    assert torch.equal(soft(0 * gradient), 0 * gradient)


def test_it_survives_saving_in_half_precision(trained: Generator, look: Look, tmp_path: Path) -> None:
    made = trained(look, 1)
    trained.half().save_pretrained(tmp_path / "generator")
    loaded = load(tmp_path / "generator", CPU)
    assert loaded is not None
    assert loaded.looks == 2
    assert torch.allclose(loaded(look, 1), made, atol=0.01 * float(made.abs().max()))


def test_absent_is_none_and_broken_is_an_error(trained: Generator, tmp_path: Path) -> None:
    assert load(tmp_path / "generator", CPU) is None
    trained.save_pretrained(tmp_path / "generator")
    (tmp_path / "generator" / "config.json").write_text("{")
    with pytest.raises(ConfigurationError, match="generator"):
        load(tmp_path / "generator", CPU)
