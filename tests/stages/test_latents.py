"""The autoencoder keeps faces, and what is changed through it is changed in its place and measure."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from torch import nn

from core import objectives
from core.networks import Networks
from core.stages.align import AlignedFaces
from core.stages.latents import Canvas, apply_change, decode, encode, limited, pixel_gain, tint_of
from core.stages.regions import change_masks, tiles


def test_autoencoder_round_trip(faces: AlignedFaces, networks: Networks) -> None:
    with torch.no_grad():
        z = encode(faces.images, networks.autoencoder)
        again = decode(z, networks.autoencoder).clamp(0, 1)
    assert z.shape == (1, 16, 32, 32)
    assert float(-10 * ((again - faces.images) ** 2).mean().log10()) > 32


def test_gain_makes_unit_steps_equal_to_the_eye(faces: AlignedFaces, networks: Networks) -> None:
    z = encode(faces.images, networks.autoencoder)
    gain = pixel_gain(z, networks.autoencoder)
    here = decode(z, networks.autoencoder)
    for c in (0, 7, 15):
        step = torch.zeros_like(z)
        step[:, c] = 0.01
        moved = decode(z + step / gain, networks.autoencoder)
        assert float((moved - here).square().mean().sqrt()) == pytest.approx(0.01, rel=0.3)


def test_a_faces_gain_does_not_depend_on_who_is_beside(faces: AlignedFaces, networks: Networks) -> None:
    z = encode(torch.cat((faces.images, 0.3 * faces.images)), networks.autoencoder)
    alone = [pixel_gain(row[None], networks.autoencoder) for row in z]
    assert torch.allclose(pixel_gain(z, networks.autoencoder), torch.cat(alone), rtol=1e-3)


@pytest.mark.parametrize(
    "autoencoder",
    [
        AutoencoderKL(block_out_channels=(8,), norm_num_groups=4, latent_channels=4, scaling_factor=0.18),
        AutoencoderTiny(encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8),
                        num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1)),
    ],
)  # fmt: skip
def test_any_autoencoder_of_diffusers_fits(autoencoder: nn.Module) -> None:
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        z = encode(images, autoencoder)
        assert decode(z, autoencoder).shape == images.shape
        assert torch.equal(z, encode(images, autoencoder))


def test_a_limit_holds_what_is_large_and_leaves_what_is_small() -> None:
    change = torch.linspace(-2, 2, 401)
    held = limited(change, 0.1)
    assert held.abs().max() <= 0.1
    assert torch.equal(held.sort().values, held)
    small = change.abs() < 0.015
    assert torch.allclose(held[small], change[small], rtol=0.01)


@torch.no_grad()
def test_a_window_shows_what_decoding_all_would(faces: AlignedFaces, networks: Networks) -> None:
    images, masks, autoencoder = faces.images, change_masks(faces.landmarks), networks.autoencoder
    z = encode(images, autoencoder)
    canvas = Canvas(images, masks, z, autoencoder)
    noise = 0.01 * torch.randn(z.shape, generator=torch.Generator().manual_seed(0)) / pixel_gain(z, autoencoder)
    moved, (inside, _) = z.clone(), tiles(masks, z.shape[-1])
    moved[inside] += noise[inside]
    whole = apply_change(images, masks, decode(moved, autoencoder) - decode(z, autoencoder), 1.0)
    seen = canvas.changed(canvas.change(moved), 1.0)
    assert (whole - images).abs().max() > 30 / 255
    assert (seen - whole).abs().max() < 3 / 255
    assert (seen - whole).abs().mean() < 0.02 * (whole - images).abs().mean()
    assert canvas.mask.numel() < 0.7 * masks.numel()
    assert torch.equal(seen[(masks == 0).expand_as(seen)], images[(masks == 0).expand_as(seen)])


@pytest.mark.parametrize("light", [-0.1, 0.1])
def test_light_that_is_added_to_skin_has_its_colour(light: float) -> None:
    skin = torch.tensor([0.8, 0.6, 0.5]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    mask, change = torch.ones(1, 1, 8, 8), torch.full((1, 3, 8, 8), light)
    tinted, plain = (apply_change(skin, mask, change, 0.5, tint) for tint in (tint_of(skin), 1.0))
    assert torch.allclose(objectives.luminance(tinted), objectives.luminance(plain), atol=1e-3)
    assert torch.allclose(tinted[:, 0] / tinted[:, 2], skin[:, 0] / skin[:, 2], atol=0.02)
    assert not torch.allclose(plain[:, 0] / plain[:, 2], skin[:, 0] / skin[:, 2], atol=0.05)


def test_what_has_no_colour_gets_none(networks: Networks) -> None:
    """The autoencoder has learned from skin."""
    grey = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0)).expand(1, 3, 64, 64)
    images = torch.cat((grey, grey * torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))))
    z = encode(images, networks.autoencoder)
    canvas = Canvas(images, torch.ones(2, 1, 64, 64), z, networks.autoencoder)
    changed = canvas.changed(canvas.change(z + 0.5), colour=1.0)
    assert (changed - images).abs().amax((1, 2, 3)).min() > 0.01
    torch.testing.assert_close(changed[0], changed[0].mean(0, keepdim=True).expand(3, -1, -1))
    coloured = changed[1] - images[1]
    assert (coloured - coloured.mean(0, keepdim=True)).abs().max() > 0.01
