"""The conditional denoiser: tokens, saving and loading, and denoising part of the way."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from core.errors import ConfigurationError
from core.networks.denoiser import Denoiser, make
from core.stages.denoise import denoise


@pytest.fixture(scope="module")
def untrained() -> Denoiser:
    torch.manual_seed(0)
    net = make(latent_channels=4, side=16, identity_dim=8)
    net.unet.eval().requires_grad_(False)
    net.conditioner.eval().requires_grad_(False)
    return net


def test_either_condition_may_be_absent(untrained: Denoiser) -> None:
    vectors, pictures = torch.randn(2, 8), torch.rand(2, 3, 256, 256)
    both = untrained.conditioner(vectors, pictures, 2)
    n = len(untrained.conditioner.null_identity)
    without_identity = untrained.conditioner(None, pictures, 2)
    assert torch.equal(without_identity[:, n:], both[:, n:])
    assert torch.equal(without_identity[0, :n], untrained.conditioner(None, None, 1)[0, :n])
    keep = (torch.tensor([True, False]), torch.tensor([True, True]))
    some = untrained.conditioner(vectors, pictures, 2, keep)
    assert torch.equal(some[0], both[0])
    assert torch.equal(some[1], without_identity[1])


def test_appearance_is_too_coarse_to_tell_fine_detail(untrained: Denoiser) -> None:
    picture = torch.rand(1, 3, 64, 64).repeat_interleave(4, 2).repeat_interleave(4, 3)
    detail = torch.randn_like(picture).view(1, 3, 64, 4, 64, 4)
    detail = (detail - detail.mean((3, 5), keepdim=True)).view_as(picture)
    tokens, again = (untrained.conditioner(None, x, 1) for x in (picture, picture + detail))
    assert torch.allclose(tokens, again, atol=1e-4)


def test_it_survives_saving(untrained: Denoiser, tmp_path: Path) -> None:
    untrained.save(tmp_path)
    weights = sum(w.numel() for net in (untrained.unet, untrained.conditioner) for w in net.parameters())
    assert sum(p.stat().st_size for p in tmp_path.rglob("*.safetensors")) < 2.2 * weights
    loaded = Denoiser.load(tmp_path, torch.device("cpu"))
    assert loaded is not None
    z, t = torch.randn(1, 4, 16, 16), torch.tensor(300)
    tokens = untrained.conditioner(None, None, 1)
    assert torch.allclose(loaded.predict(z, t, tokens), untrained.predict(z, t, tokens), atol=1e-2)
    assert next(loaded.unet.parameters()).dtype == torch.float32
    assert loaded.scheduler.config["prediction_type"] == "v_prediction"


def test_absent_is_none_and_broken_is_an_error(untrained: Denoiser, tmp_path: Path) -> None:
    assert Denoiser.load(tmp_path / "none", torch.device("cpu")) is None
    untrained.save(tmp_path)
    (tmp_path / "unet" / "config.json").write_text("{")
    with pytest.raises(ConfigurationError, match="denoiser"):
        Denoiser.load(tmp_path, torch.device("cpu"))


def test_a_perfect_velocity_brings_the_picture_back(untrained: Denoiser, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an oracle in the network's place DDIM must end at the clean latents, wherever it began."""
    clean = torch.randn(1, 4, 16, 16)
    alphas = untrained.scheduler.alphas_cumprod

    def oracle(self: Denoiser, x: torch.Tensor, t: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        a = alphas[int(t)]
        noise = (x - a.sqrt() * clean) / (1 - a).sqrt()
        return a.sqrt() * noise - (1 - a).sqrt() * clean

    monkeypatch.setattr(Denoiser, "predict", oracle)
    for start, steps in ((0.3, 4), (0.6, 12)):
        out = denoise(clean, untrained, torch.zeros(1, 1, 1), start, steps, torch.Generator().manual_seed(0))
        assert (out - clean).abs().max() < 1e-3


def test_the_same_seed_gives_the_same_picture(untrained: Denoiser) -> None:
    z, tokens = torch.randn(1, 4, 16, 16), untrained.conditioner(None, None, 1)
    one, two, other = (denoise(z, untrained, tokens, 0.4, 3, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
