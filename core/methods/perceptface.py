"""PerceptFace: the same face to people, somebody else to machines, in one forward pass (arXiv:2509.11249).

A generator moves the latent of the face in a direction that a secret, new for every photo, decides together with the
face's own identity. What people see is compared by facial region, as the paper does.

Notation: x source, z its latent, e identity (dlib's vector), k secret, G generator, M mask, C takes
most of the colour out of a change.

    x' = x + M C(Dec(z + G(z, e, k)) - Dec(z))

Deviates: G works in the latent space of the engine's autoencoder and is trained in one stage against an ensemble, not
in two against one encoder; only the *change* of the decoded image is added, so that what the autoencoder cannot code
stays sharp; and k, which the paper does not have: without it 200 pairs are enough to learn the map.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from core.errors import ConfigurationError
from core.networks import Networks
from core.promise import Promise
from core.stages.align import AlignedFaces
from core.stages.decouple import change_masks
from core.stages.optimise import Jitter, Progress, Protected
from core.stages.recompose import apply_change, decode, encode

PROMISE = Promise(people_recognise=True, machines_match=False)
NETWORKS = ("detector", "autoencoder", "encoders", "generator")
COLOUR = 0.3  # share of a change's colour that is left


@dataclass(frozen=True, slots=True)
class Config:
    """margin: see `Encoder.allowed`; one pass can promise none. strength: how far the latent is moved, in shares of
    what the generator was trained for."""

    margin: float = 0.0
    strength: float = 1.0
    variants: int = 1
    jitter: Jitter = field(default_factory=Jitter)


PRESETS = {"natural": Config(strength=0.85), "standard": Config(), "strong": Config(strength=1.25)}


@torch.no_grad()
def protect(
    faces: AlignedFaces, networks: Networks, config: Config, generator: torch.Generator, progress: Progress
) -> Protected:
    """Protected faces of all variants, each under a secret of its own."""
    if networks.generator is None:
        raise ConfigurationError("this bundle has no generator, which the method perceptface needs")
    x, landmarks = faces.images, faces.landmarks
    dlib = next(e for e in networks.encoders if e.name == "dlib")
    z, identity = encode(x, networks.autoencoder), dlib.identity(x, landmarks)
    M = change_masks(landmarks)
    images = []
    for v in range(config.variants):
        secret = torch.randn(len(x), networks.generator.secret_dim, generator=generator).to(x)
        change = config.strength * networks.generator(z, identity, secret)
        images.append(render(x, M, z, change, networks.autoencoder))
        progress("optimise", (v + 1) / config.variants)
    return Protected(tuple(images), config.variants)


def render(
    x: Float[Tensor, "b 3 256 256"],
    M: Float[Tensor, "b 1 256 256"],
    z: Float[Tensor, "b c u v"],
    change: Float[Tensor, "b c u v"],
    autoencoder: nn.Module,
) -> Float[Tensor, "b 3 256 256"]:
    """The faces `x`, whose latents are `z`, with their latents changed."""
    with torch.no_grad():
        before = decode(z, autoencoder)
    return apply_change(x, M, decode(z + change, autoencoder) - before, COLOUR)
