"""The conditional denoiser: a UNet in the autoencoder's latent space under tokens [identity | appearance].

One network for two uses: recomposition takes the appearance tokens of a persona and no identity; sampling a new
identity takes both (ID2Face, arXiv:2510.24213). Either part may be absent; it then is a learned null, as
classifier-free guidance needs.
"""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from jaxtyping import Bool, Float
from torch import Tensor, nn

from core.errors import ConfigurationError

LOOK = 64  # px, side of the picture that appearance is read from: too coarse to tell who it is


class Conditioner(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Identity vectors and coarse pictures -> tokens (B, identity_tokens + 16, width)."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, identity_dim: int = 128, identity_tokens: int = 4, width: int = 128) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.identity = nn.Sequential(
            nn.Linear(identity_dim, 2 * width), nn.SiLU(), nn.Linear(2 * width, identity_tokens * width)
        )
        widths = (3, 32, 64, 96, width)
        layers: list[nn.Module] = []
        for cin, cout in pairwise(widths):
            layers += [nn.Conv2d(cin, cout, 3, 2, 1), nn.GroupNorm(8, cout), nn.SiLU()]
        self.appearance = nn.Sequential(*layers, nn.Conv2d(width, width, 1))
        self.null_identity = nn.Parameter(torch.zeros(identity_tokens, width))
        self.null_appearance = nn.Parameter(torch.zeros(16, width))
        self.place = nn.Parameter(torch.randn(identity_tokens + 16, width) * 0.02)

    def forward(
        self,
        identity: Float[Tensor, "b d"] | None,
        pictures: Float[Tensor, "b 3 h w"] | None,
        batch: int,
        keep: tuple[Bool[Tensor, " b"], Bool[Tensor, " b"]] | None = None,
    ) -> Float[Tensor, "b n w"]:
        """Tokens of `batch` rows; a part that is None is null. `keep`: rows whose identity, appearance are kept."""
        parts = []
        for i, (given, null) in enumerate(((identity, self.null_identity), (pictures, self.null_appearance))):
            tokens = null.expand(batch, -1, -1)
            if given is not None:
                made = self._identity(given) if i == 0 else self._appearance(given)
                tokens = made if keep is None else torch.where(keep[i][:, None, None], made, tokens)
            parts.append(tokens)
        together: Tensor = torch.cat(parts, 1) + self.place
        return together

    def _identity(self, vectors: Tensor) -> Tensor:
        tokens: Tensor = self.identity(vectors * vectors.shape[1] ** 0.5)
        return tokens.view(len(vectors), len(self.null_identity), -1)

    def _appearance(self, pictures: Tensor) -> Tensor:
        small = F.interpolate(pictures, (LOOK, LOOK), mode="area")
        tokens: Tensor = self.appearance(small * 2 - 1)
        return tokens.flatten(2).transpose(1, 2)


@dataclass(frozen=True, slots=True)
class Denoiser:
    """The UNet, its conditioner and the noise schedule it was trained with."""

    unet: UNet2DConditionModel
    conditioner: Conditioner
    scheduler: DDIMScheduler

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> Denoiser | None:
        """From a bundle folder with unet/, conditioner/ and scheduler/; None where the bundle has none.

        Raises:
            ConfigurationError: it is there and cannot be read.
        """
        if not folder.is_dir():
            return None
        try:
            nets = [
                kind.from_pretrained(folder / name, use_safetensors=True, low_cpu_mem_usage=False)
                for kind, name in ((UNet2DConditionModel, "unet"), (Conditioner, "conditioner"))
            ]
            scheduler = DDIMScheduler.from_config(
                json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
            )
        except (OSError, ValueError, KeyError) as error:
            raise ConfigurationError(f"the denoiser in {folder} cannot be loaded: {error}") from error
        unet, conditioner = (net.float().eval().requires_grad_(False).to(device) for net in nets)
        return cls(unet, conditioner, scheduler)

    def save(self, folder: Path) -> None:
        """As `load` reads it, in half precision: a bundle is small, and what is lost is far below the noise."""
        for name, net in (("unet", self.unet), ("conditioner", self.conditioner)):
            deepcopy(net).half().save_pretrained(folder / name)  # type: ignore[no-untyped-call]
        self.scheduler.save_pretrained(folder / "scheduler")

    def predict(
        self, z: Float[Tensor, "b c u v"], t: Tensor, tokens: Float[Tensor, "b n w"]
    ) -> Float[Tensor, "b c u v"]:
        """What the network says of noisy latents, in the scheduler's `prediction_type`."""
        return cast(Tensor, self.unet(z, t, encoder_hidden_states=tokens).sample)

    def alpha_bar(self, t: int | None) -> Tensor:
        """Share of the signal's variance at a time of the schedule; None is clean."""
        return torch.tensor(1.0) if t is None else self.scheduler.alphas_cumprod[t]

    def step(
        self, z: Float[Tensor, "b c u v"], t: int, now: int | None, then: int | None, tokens: Float[Tensor, "b n w"]
    ) -> Float[Tensor, "b c u v"]:
        """Latents at time `now` brought to time `then` (None: clean), in either direction, by what the network says of
        them at time t (DDIM, arXiv:2010.02502, equation 12 without noise)."""
        said, at = self.predict(z, torch.tensor(t, device=z.device), tokens), self.alpha_bar(t)
        velocity = self.scheduler.config["prediction_type"] == "v_prediction"
        noise = at.sqrt() * said + (1 - at).sqrt() * z if velocity else said
        a, b = self.alpha_bar(now), self.alpha_bar(then)
        clean = (z - (1 - a).sqrt() * noise) / a.sqrt()
        return b.sqrt() * clean + (1 - b).sqrt() * noise


def make(latent_channels: int, side: int, identity_dim: int) -> Denoiser:
    """An untrained denoiser that two CPU cores can train; the schedule is Stable Diffusion's."""
    conditioner = Conditioner(identity_dim)
    unet = UNet2DConditionModel(
        sample_size=side,
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=(64, 128, 192),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=conditioner.config.width,
        attention_head_dim=4,
        norm_num_groups=16,
    )
    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
    )
    return Denoiser(unet, conditioner, scheduler)
