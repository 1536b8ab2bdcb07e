"""The generator: a face's latents, whose face it is and a secret -> how its latents are to change, in one forward pass.

Identity and secret draw a pattern (what turns a network away from a face is to first order linear in the face's
vector), which residual convolutions at two resolutions of the latent space fit to the face; the same two steer each
block by the scale and shift of its normalised maps (AdaIN, Huang and Belongie 2017). As faces are aligned, every place
has an offset of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from jaxtyping import Float
from torch import Tensor, nn

from core.errors import ConfigurationError

REACH = 0.02  # of an untrained generator, in pixel units a latent channel
GROUPS = 8  # of channels that are normalised together


class SteeredBlock(nn.Module):
    """x + conv(steered(norm(conv(x)))); shape (B, C, h, w) is kept. Starts as the identity."""

    def __init__(self, channels: int, style: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.GroupNorm(GROUPS, channels, affine=False)
        self.steer = nn.Linear(style, 2 * channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Float[Tensor, "b c h w"], style: Float[Tensor, "b s"]) -> Float[Tensor, "b c h w"]:
        scale, shift = self.steer(style)[..., None, None].chunk(2, 1)
        steered = self.norm(self.conv1(F.silu(x))) * (1 + scale) + shift
        changed: Tensor = x + self.conv2(F.silu(steered))
        return changed


class Generator(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Latents (B, c, s, s), identity (B, d) and secret (B, k) -> change of the latents (B, c, s, s).

    readers: the encoders whose unit vectors, one after the other, are the identity. gain: what a unit of each latent
    channel does to pixels, so that all channels are learned at the same pace.
    """

    gain: Tensor

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        readers: tuple[str, ...] = (),
        identity_dim: int = 128,
        secret_dim: int = 32,
        latent_channels: int = 16,
        side: int = 32,
        width: int = 64,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.readers, self.secret_dim = tuple(readers), secret_dim
        style = deep = 3 * width
        # Each on its own, or the few numbers of the secret would go under in the many of identity.
        self.of_identity = nn.Linear(identity_dim, 2 * style)
        self.of_secret = nn.Linear(secret_dim, 2 * style)
        self.mapping = nn.Sequential(nn.SiLU(), nn.Linear(2 * style, style), nn.SiLU())
        self.pattern = nn.Linear(style, latent_channels * side * side)
        self.enter = nn.Conv2d(latent_channels, width, 3, padding=1)
        self.place = nn.Parameter(torch.randn(width, side, side) * 0.5)
        self.before = nn.ModuleList(SteeredBlock(width, style) for _ in range(2))
        self.down = nn.Conv2d(width, deep, 2, 2)
        self.deep_place = nn.Parameter(torch.randn(deep, side // 2, side // 2) * 0.5)
        self.inside = nn.ModuleList(SteeredBlock(deep, style) for _ in range(3))
        self.up = nn.Conv2d(deep, 4 * width, 1)
        self.after = nn.ModuleList(SteeredBlock(width, style) for _ in range(2))
        self.leave = nn.Conv2d(width, latent_channels, 3, padding=1)
        self.register_buffer("gain", torch.ones(1, latent_channels, 1, 1))

    def forward(
        self, z: Float[Tensor, "b c s s"], identity: Float[Tensor, "b d"], secret: Float[Tensor, "b k"]
    ) -> Float[Tensor, "b c s s"]:
        # Unit vectors of many dimensions are brought to about the variance of the secret.
        scaled = identity * (identity.shape[1] / len(self.readers)) ** 0.5
        style = self.mapping(self.of_identity(scaled) + self.of_secret(secret))
        pattern = self.pattern(style).view_as(z)
        x = self.enter(z + pattern) + self.place
        for block in self.before:
            x = block(x, style)
        y = self.down(x) + self.deep_place
        for block in self.inside:
            y = block(y, style)
        x = x + F.pixel_shuffle(self.up(y), 2)
        for block in self.after:
            x = block(x, style)
        change: Tensor = (self.leave(F.silu(x)) + pattern) * REACH / self.gain
        return change

    def identity(self, vectors: Mapping[str, Float[Tensor, "b _"]]) -> Float[Tensor, "b d"]:
        """What the generator takes for identity, of the vectors of all encoders.

        Raises:
            ConfigurationError: one of its readers is not among them.
        """
        absent = [name for name in self.readers if name not in vectors]
        if absent:
            raise ConfigurationError(f"the generator of this bundle needs the encoders {', '.join(absent)}")
        return torch.cat([vectors[name] for name in self.readers], 1)

    def secrets(self, count: int, generator: torch.Generator) -> Float[Tensor, "n k"]:
        """Random directions, of the length of a normal draw."""
        drawn = torch.randn(count, self.secret_dim, generator=generator)
        directions: Tensor = F.normalize(drawn, dim=1) * float(self.secret_dim) ** 0.5
        return directions


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
    return cast(Generator, net.float().eval().requires_grad_(False).to(device))
