"""Noise latents part of the way and bring them back with DDIM (arXiv:2010.02502): random noise makes one coherent
photograph of a composite (SDEdit, arXiv:2108.01073); inverted latents come back to where they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention, AttnProcessor
from jaxtyping import Float
from torch import Tensor

from core.networks.denoiser import Denoiser

EMBEDDING_RATE = 0.1  # of AdamW, as published


def denoise(
    z: Float[Tensor, "b c u v"],
    denoiser: Denoiser,
    tokens: Float[Tensor, "b n w"],
    start: float,
    steps: int,
    generator: torch.Generator,
) -> Float[Tensor, "b c u v"]:
    """Latents noised to `start` (share of the schedule, 0..1) and denoised under tokens in about `steps` DDIM steps."""
    times = timesteps(denoiser, round(steps / start), steps)
    noise = torch.randn(z.shape, generator=generator).to(z)
    a = denoiser.alpha_bar(times[0])
    return regenerate(a.sqrt() * z + (1 - a).sqrt() * noise, denoiser, times, [tokens] * steps)


def timesteps(denoiser: Denoiser, steps: int, last: int) -> list[int]:
    """The last of the schedule's times in `steps` DDIM steps, falling; none is spent where there is no noise."""
    spacing = len(denoiser.scheduler.alphas_cumprod) // steps
    return [i * spacing - 1 for i in range(last, 0, -1)]


def regenerate(
    z: Float[Tensor, "b c u v"], denoiser: Denoiser, times: list[int], tokens: list[Float[Tensor, "b n w"]]
) -> Float[Tensor, "b c u v"]:
    """Clean latents from those at times[0], each step under tokens of its own. Differentiable."""
    for t, s, given in zip(times, [*times[1:], None], tokens, strict=True):
        z = denoiser.step(z, t, t, s, given)
    return z


@torch.no_grad()
def invert(
    z: Float[Tensor, "b c u v"], denoiser: Denoiser, times: list[int], tokens: Float[Tensor, "b n w"]
) -> list[Float[Tensor, "b c u v"]]:
    """Latents at each of the (falling) times that denoising leads back to z, and z last: DDIM run backwards."""
    path: list[Tensor] = [z]
    for s, t in zip([None, *times[:0:-1]], times[::-1], strict=True):
        path.append(denoiser.step(path[-1], t, s, t, tokens))
    return path[::-1]


def learn_embeddings(
    path: list[Float[Tensor, "b c u v"]],
    denoiser: Denoiser,
    times: list[int],
    tokens: Float[Tensor, "b n w"],
    iterations: int,
) -> list[Float[Tensor, "b n w"]]:
    """Tokens for each step under which denoising follows the inverted path closely (null-text inversion,
    arXiv:2211.09794); each step begins with those of the step before."""
    learned, z = [], path[0]
    for t, s, goal in zip(times, [*times[1:], None], path[1:], strict=True):
        variable = tokens.clone().requires_grad_(True)
        optimiser = torch.optim.AdamW([variable], EMBEDDING_RATE)
        for _ in range(iterations):
            optimiser.zero_grad()
            with torch.enable_grad():
                F.mse_loss(denoiser.step(z, t, t, s, variable), goal).backward()
            optimiser.step()
        tokens = variable.detach()
        learned.append(tokens)
        z = denoiser.step(z, t, t, s, tokens).detach()
    return learned


@contextmanager
def watched(denoiser: Denoiser) -> Iterator[list[Tensor]]:
    """Lists the self-attention maps of every call of the network, (B heads, n, n) each, while the context lasts."""
    maps: list[Tensor] = []
    before = denoiser.unet.attn_processors
    denoiser.unet.set_attn_processor(_Watch(maps))
    try:
        yield maps
    finally:
        denoiser.unet.set_attn_processor(before)


class _Watch(AttnProcessor):
    """diffusers' plain attention; its maps are computed once more, because it lets nobody see them."""

    def __init__(self, maps: list[Tensor]) -> None:
        super().__init__()
        self.maps = maps

    def __call__(  # type: ignore[no-untyped-def]
        self, attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, *args, **kwargs
    ) -> Tensor:
        if encoder_hidden_states is None:
            query, key = (attn.head_to_batch_dim(project(hidden_states)) for project in (attn.to_q, attn.to_k))
            self.maps.append(attn.get_attention_scores(query, key))
        result: Tensor = super().__call__(attn, hidden_states, encoder_hidden_states, *args, **kwargs)
        return result
