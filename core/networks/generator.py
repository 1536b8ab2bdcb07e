"""The generator: what networks read in a face's latents -> how these are to change, one forward pass a look.

Which small changes turn networks away from a face differs from face to face: a generator that sees the face alone draws
nearly the same on all of them. This one is shown what the encoders ask for at this very face, the gradient of what they
read, and has learned what of it is worth drawing: what holds for encoders that were not asked, and is hardly seen. It
is an optimiser that was learned (Andrychowicz et al. 2016, arXiv:1606.04474), of so few steps that each counts.

All that it sees and says is in pixel units (`gain`), so that all latent channels are learned at the same pace.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from jaxtyping import Float
from torch import Tensor, nn

from core.errors import ConfigurationError
from core.networks.settle import settled

REACH = 0.0025  # of an untrained generator's look, in pixel units a latent channel
STEEPEST = 3.0  # root mean squares beyond which a gradient says no more
GROUPS = 8  # of channels that are normalised together


@dataclass(frozen=True, slots=True)
class Look:
    """What there is to be seen of B faces, each (B, c, s, s) but the last.

    z: the photo's latents. u: how far they are moved by now. wanted: the gradients by which encoders would be turned
    away, mean of all that were asked; unsure: their standard deviation. dear: the gradient of what an eye sees.
    places: (B, 2, s, s), where the face may change and how much its regions count.
    """

    z: Tensor
    u: Tensor
    wanted: Tensor
    unsure: Tensor
    dear: Tensor
    places: Tensor


class SteeredBlock(nn.Module):
    """x + conv(steered(norm(conv(x)))); shape (B, C, h, w) is kept. Starts as the identity.

    steer: by look, scale and shift of the normalised maps.
    """

    def __init__(self, channels: int, looks: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.GroupNorm(GROUPS, channels, affine=False)
        self.steer = nn.Parameter(torch.zeros(looks, 2 * channels))
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Float[Tensor, "b c h w"], look: int) -> Float[Tensor, "b c h w"]:
        scale, shift = self.steer[look][:, None, None].chunk(2)
        steered = self.norm(self.conv1(F.silu(x))) * (1 + scale) + shift
        changed: Tensor = x + self.conv2(F.silu(steered))
        return changed


class Generator(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Look, and the how manieth it is -> by how much the latents are moved on, (B, c, s, s).

    looks: how often it is asked. gain: what a unit of each latent channel does to pixels.
    """

    gain: Tensor

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, looks: int = 5, latent_channels: int = 16, side: int = 32, width: int = 64) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.looks, deep = looks, 2 * width
        self.pace = nn.Parameter(torch.ones(looks, latent_channels))
        self.enter = nn.Conv2d(5 * latent_channels + 2, width, 3, padding=1)
        # As faces are aligned, every place has an offset of its own.
        self.place = nn.Parameter(torch.randn(width, side, side) * 0.1)
        self.before = nn.ModuleList(SteeredBlock(width, looks) for _ in range(2))
        self.down = nn.Conv2d(width, deep, 2, 2)
        self.inside = nn.ModuleList(SteeredBlock(deep, looks) for _ in range(3))
        self.up = nn.Conv2d(deep, 4 * width, 1)
        self.after = nn.ModuleList(SteeredBlock(width, looks) for _ in range(2))
        self.leave = nn.Conv2d(width, 2 * latent_channels, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(cast(Tensor, self.leave.bias))
        self.register_buffer("gain", torch.ones(1, latent_channels, 1, 1))

    def forward(self, seen: Look, look: int) -> Float[Tensor, "b c s s"]:
        """Untrained, a step against the gradient."""
        wanted = soft(seen.wanted)
        gradients = (wanted, soft(seen.unsure), soft(seen.dear))
        # 0.1 and 0.01: about how much latents, and changes of them, vary in pixel units.
        x = self.enter(torch.cat((seen.z / 0.1, seen.u / 0.01, *gradients, seen.places), 1)) + self.place
        for block in self.before:
            x = block(x, look)
        y = self.down(x)
        for block in self.inside:
            y = block(y, look)
        x = x + F.pixel_shuffle(self.up(y), 2)
        for block in self.after:
            x = block(x, look)
        trust, own = self.leave(F.silu(x)).chunk(2, 1)
        step: Tensor = REACH * self.pace[look][:, None, None] * (own - (1 + trust) * wanted)
        return step


def soft(gradient: Tensor) -> Tensor:
    """At a root mean square of about 1 a face, without its peaks; zeros stay."""
    scale = gradient.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-12)
    return STEEPEST * torch.tanh(gradient / scale / STEEPEST)


def load(folder: Path, device: torch.device) -> Generator | None:
    """From a bundle folder; None where the bundle has none.

    Raises:
        ConfigurationError: it is there and cannot be read.
    """
    if not folder.is_dir():
        return None
    try:
        net: nn.Module = Generator.from_pretrained(folder, use_safetensors=True, low_cpu_mem_usage=False)
    except (OSError, ValueError, KeyError) as error:
        raise ConfigurationError(f"the generator in {folder} cannot be loaded: {error}") from error
    return cast(Generator, settled(net.float()).to(device))
