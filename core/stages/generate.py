"""Change faces by one forward pass of the generator."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from core.networks.generator import Generator
from core.stages.recompose import decode

LIMIT = 0.1  # how far a pixel may be moved, 1 is black to white: what is beyond it looks painted


def change(
    generator: Generator,
    autoencoder: nn.Module,
    z: Float[Tensor, "b c u v"],
    identity: Float[Tensor, "b d"],
    secret: Float[Tensor, "b k"],
) -> Float[Tensor, "b 3 h w"]:
    """What the generator does to the decoded images of latents."""
    return decode(z + generator(z, identity, secret), autoencoder) - decode(z, autoencoder)


def bounded(moved: Float[Tensor, "*b 3 h w"]) -> Float[Tensor, "*b 3 h w"]:
    """A change whose every value is within LIMIT of 0; what is small stays as it is."""
    return LIMIT * torch.tanh(moved / LIMIT)
