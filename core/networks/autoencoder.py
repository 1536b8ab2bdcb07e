"""A light autoencoder with the encode/decode contract of diffusers' autoencoders.

A patch PCA (8 x 8 px, the optimal linear code) with residual convolutions at the low resolution that learn
what the linear map misses: block edges and texture. Cheap to train, and cheap inside an optimisation loop.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTinyOutput
from diffusers.models.autoencoders.vae import DecoderOutput
from diffusers.models.modeling_utils import ModelMixin
from jaxtyping import Float
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """x + conv(silu(conv(silu(x)))); shape (B, C, h, w) is kept."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + cast(Tensor, self.conv2(F.silu(self.conv1(F.silu(x)))))


class Residual(nn.Sequential):
    """A learned correction (B, cin, h, w) -> (B, cout, h, w) that starts at zero."""

    def __init__(self, cin: int, cout: int, width: int, depth: int) -> None:
        last = nn.Conv2d(width, cout, 3, padding=1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(cast(Tensor, last.bias))
        blocks = [ResidualBlock(width) for _ in range(depth)]
        super().__init__(nn.Conv2d(cin, width, 3, padding=1), *blocks, nn.SiLU(), last)


class PatchAutoencoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Images RGB in [-1, 1] (B, 3, 8h, 8w) <-> latents (B, c, h, w) with about unit variance a channel."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        latent_channels: int = 16,
        patch: int = 8,
        width: int = 96,
        depth: int = 3,
        scaling_factor: float = 1.0,  # noqa: ARG002 - read from the config, as diffusers does
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        pixels = 3 * patch * patch
        self.patch = patch
        self.analysis = nn.Conv2d(pixels, latent_channels, 1)
        self.synthesis = nn.Conv2d(latent_channels, pixels, 1)
        self.refine_latent = Residual(pixels, latent_channels, width, 1)
        self.refine_pixels = Residual(latent_channels, pixels, width, depth)

    def encode(self, x: Float[Tensor, "b 3 H W"]) -> AutoencoderTinyOutput:
        """Latents of images; H and W are multiples of the patch."""
        patches = F.pixel_unshuffle(x, self.patch)
        return AutoencoderTinyOutput(latents=self.analysis(patches) + self.refine_latent(patches))

    def decode(self, z: Float[Tensor, "b c h w"]) -> DecoderOutput:
        """Images of latents, not clamped."""
        patches = self.synthesis(z) + self.refine_pixels(z)
        return DecoderOutput(sample=F.pixel_shuffle(patches, self.patch))

    def forward(self, x: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 3 H W"]:
        return self.decode(self.encode(x).latents).sample

    @torch.no_grad()
    def initialise_from_pca(self, patches: Float[Tensor, "n d"]) -> None:
        """Set the linear maps to the PCA of patches (rows: unshuffled patches of images in [-1, 1])."""
        mean = patches.mean(0)
        values, vectors = torch.linalg.eigh((patches - mean).T.double().cov())
        c = self.analysis.out_channels
        spread = values[-c:].flip(0).sqrt()
        basis = vectors[:, -c:].flip(1)
        encode = (basis / spread).T.float()
        decode = (basis * spread).float()
        self.analysis.weight.copy_(encode[..., None, None])
        cast(Tensor, self.analysis.bias).copy_(-encode @ mean)
        self.synthesis.weight.copy_(decode[..., None, None])
        cast(Tensor, self.synthesis.bias).copy_(mean)
