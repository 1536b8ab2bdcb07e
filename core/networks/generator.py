"""The generator of PerceptFace: latents of a face, moved in one pass so that machines read somebody else.

A secret vector, new for every photo, says in which direction: to who does not have it the map from faces to protected
faces is random, so that it cannot be learned from pairs (arXiv:2509.11249 has a fixed one, which can).
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from jaxtyping import Float
from torch import Tensor, nn

from core.errors import ConfigurationError


class Injected(nn.Module):
    """Residual block whose normalised features are scaled and shifted by a style (AdaIN, arXiv:1703.06868)."""

    def __init__(self, channels: int, style: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.GroupNorm(8, channels, affine=False) for _ in range(2))
        self.styles = nn.ModuleList(nn.Linear(style, 2 * channels) for _ in range(2))
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, x: Float[Tensor, "b c h w"], style: Float[Tensor, "b s"]) -> Float[Tensor, "b c h w"]:
        h = x
        for norm, affine, conv in zip(self.norms, self.styles, self.convs, strict=True):
            scale, shift = affine(style)[..., None, None].chunk(2, 1)
            h = conv(F.silu(norm(h) * (1 + scale) + shift))
        return x + h


class Generator(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Latents (B, c, 32, 32), identity vectors (B, d) and secrets (B, s) -> a change of the latents.

    The mapping network turns identity and secret into the style that is injected in every block.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        latent_channels: int = 16,
        identity_dim: int = 128,
        secret_dim: int = 32,
        width: int = 64,
        style: int = 256,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.secret_dim = secret_dim
        self.mapping = nn.Sequential(
            nn.Linear(identity_dim + secret_dim, style), nn.SiLU(), nn.Linear(style, style), nn.SiLU()
        )
        self.enter = nn.Conv2d(latent_channels, width, 3, padding=1)
        self.fine_in = nn.ModuleList(Injected(width, style) for _ in range(2))
        self.down = nn.Conv2d(width, 2 * width, 2, 2)
        self.coarse = nn.ModuleList(Injected(2 * width, style) for _ in range(4))
        self.up = nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.fine_out = nn.ModuleList(Injected(width, style) for _ in range(2))
        self.leave = nn.Conv2d(width, latent_channels, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(cast(Tensor, self.leave.bias))

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> Generator | None:
        """From a folder of a bundle; None where the bundle has none.

        Raises:
            ConfigurationError: it is there and cannot be read.
        """
        if not folder.is_dir():
            return None
        try:
            net: Generator = cls.from_pretrained(folder, use_safetensors=True, low_cpu_mem_usage=False)
        except (OSError, ValueError, KeyError) as error:
            raise ConfigurationError(f"the generator in {folder} cannot be loaded: {error}") from error
        nn.Module.to(net.eval().requires_grad_(False), device)
        return net

    def forward(
        self, z: Float[Tensor, "b c u v"], identity: Float[Tensor, "b d"], secret: Float[Tensor, "b s"]
    ) -> Float[Tensor, "b c u v"]:
        style = self.mapping(torch.cat((identity * identity.shape[1] ** 0.5, secret), 1))
        x = self.enter(z)
        for block in self.fine_in:
            x = block(x, style)
        coarse = self.down(x)
        for block in self.coarse:
            coarse = block(coarse, style)
        x = x + self.up(coarse)
        for block in self.fine_out:
            x = block(x, style)
        change: Tensor = self.leave(F.silu(x))
        return change
