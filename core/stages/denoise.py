"""Make one coherent photograph: noise latents part of the way and denoise them with DDIM (SDEdit, arXiv:2108.01073)."""

from __future__ import annotations

from typing import cast

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from jaxtyping import Float
from torch import Tensor

from core.networks.denoiser import Denoiser


def denoise(
    z: Float[Tensor, "b c u v"],
    denoiser: Denoiser,
    tokens: Float[Tensor, "b n w"],
    start: float,
    steps: int,
    generator: torch.Generator,
) -> Float[Tensor, "b c u v"]:
    """Latents noised to `start` (share of the schedule, 0..1) and denoised under tokens in about `steps` DDIM steps."""
    # A schedule of its own: setting its steps changes it, and the network is shared.
    scheduler = cast(DDIMScheduler, DDIMScheduler.from_config(denoiser.scheduler.config))
    scheduler.set_timesteps(round(steps / start))
    times = scheduler.timesteps[-steps:].to(z.device)
    noise = torch.randn(z.shape, generator=generator).to(z)
    x = scheduler.add_noise(z, noise, cast(torch.IntTensor, times[:1]))
    for t in times:
        x = scheduler.step(denoiser.predict(x, t, tokens), int(t), x).prev_sample  # type: ignore[union-attr]
    return x
