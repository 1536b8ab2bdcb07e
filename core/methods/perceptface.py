"""PerceptFace-style: the same face to people, somebody else to machines, in one forward pass (arXiv:2509.11249).

A generator that has learned which small changes of a face turn networks away draws them at once; nothing is optimised
for a photo. Each protection has a secret of its own, so that two of one photo differ and a change cannot be computed
from the photo alone. A face that is still read is tried with other secrets and more strongly, forward passes only; of
what holds the least visible is taken.

Notation: x source, z its latent, e its identity by the surrogates, s secret direction, G generator, a strength,
l limit of a pixel's change, e_k identity by encoder k, c_k cosine that is low enough, P perceived distance by facial
region, M mask, C takes most of the colour out of a change.

    d(s) = Dec(z + G(z, e, s)) - Dec(z)
    x(a, s) = x + M C(l tanh(a d(s) / l))
    a = the least strength, s = argmin P(x(a, s), x), with cos(E_k(x(a, s)), e_k) <= c_k for all k

Deviates: the paper redraws the whole face by a face-swapping generator under an identity that a small network maps
from the source's, always the same one: an attacker who trains on 200 pairs links 98 % of its pictures. Ours draws a
change of the photo under identity and secret, so that what is not changed stays sharp; no adversarial network judges
it: a bound for every pixel and the perceived distance keep it from being painted.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from core import objectives
from core.errors import ConfigurationError
from core.networks import Networks
from core.promise import Promise
from core.stages.align import AlignedFaces, stored
from core.stages.decouple import Identity, change_masks, cosines, identify, region_weights
from core.stages.generate import bounded, change
from core.stages.optimise import Progress, Protected
from core.stages.recompose import apply_change, encode

PROMISE = Promise(people_recognise=True, machines_match=False)
NETWORKS = ("detector", "autoencoder", "encoders", "generator")


@dataclass(frozen=True, slots=True)
class Config:
    """margin: share of the threshold at FAR 1e-2 by which surrogates must read less than that. aim: the share by which
    they must read less for a face to be taken. confirmation: as aim, for a referee. strengths: tried in this order.
    secrets: drawn for each face. colour: share of a change's colour that C leaves.
    """

    margin: float = 0.2
    aim: float = 0.5
    confirmation: float = 0.35
    strengths: tuple[float, ...] = (0.7, 0.85, 1.0, 1.2, 1.45, 1.75, 2.1)
    secrets: int = 4
    colour: float = 0.3
    variants: int = 1


PRESETS = {
    "natural": Config(margin=0.0, aim=0.15, confirmation=0.1, strengths=(0.4, 0.55, 0.7, 0.85, 1.0, 1.2, 1.45, 1.75)),
    "standard": Config(),
    "strong": Config(margin=0.5, aim=0.7, confirmation=0.55, strengths=(1.0, 1.2, 1.45, 1.75, 2.1, 2.5, 3.0)),
}


@torch.no_grad()
def protect(
    faces: AlignedFaces, networks: Networks, config: Config, generator: torch.Generator, progress: Progress
) -> Protected:
    """Protected faces of all variants; whether the promise holds is for the pipeline to measure."""
    net, autoencoder = networks.generator, networks.autoencoder
    if net is None:
        raise ConfigurationError("this bundle has no generator, which the method perceptface needs")
    identity = identify(networks.encoders, faces.images, faces.landmarks)
    z, own = encode(faces.images, autoencoder), net.identity(identity.vectors)
    images = []
    for v in range(config.variants):
        secrets = net.secrets(config.secrets * len(faces), generator).to(z).view(config.secrets, len(faces), -1)
        moved = torch.stack([change(net, autoencoder, z, own, secret) for secret in secrets])
        images.append(least_visible(moved, faces, identity, networks, config))
        progress("optimise", (v + 1) / config.variants)
    return Protected(tuple(images), 0)


def least_visible(
    moved: Float[Tensor, "n b 3 256 256"], faces: AlignedFaces, identity: Identity, networks: Networks, config: Config
) -> Float[Tensor, "b 3 256 256"]:
    """Each face changed by one of `n` changes, as strongly as it takes; where none holds, what machines know least."""
    x, M, regions = faces.images, change_masks(faces.landmarks), region_weights(faces.landmarks)
    best, found = x.new_full((len(x),), torch.inf), x.clone()
    for strength in config.strengths:
        shown = torch.stack([apply_change(x, M, bounded(strength * m), config.colour) for m in moved])
        known = recognised(shown, faces, identity, networks, config)
        seen = torch.stack([objectives.perceived_distance(face, x, M, regions) for face in shown])
        # A face that holds always comes before one that does not.
        score, pick = torch.where(known <= 1, seen - 100, known).min(0)
        better = (best > 0) & (score < best)
        found[better] = shown[pick, torch.arange(len(x))][better]
        best = torch.where(better, score, best)
        if (best <= 0).all():
            break
    return found


def recognised(
    shown: Float[Tensor, "n b 3 256 256"], faces: AlignedFaces, identity: Identity, networks: Networks, config: Config
) -> Float[Tensor, "n b"]:
    """The largest cosine that an encoder reads in the stored pixels, in shares of what it may read."""
    shares = {"surrogate": config.aim, "referee": config.confirmation}
    limits = [encoder.thresholds[1e-2] * (1 - shares[encoder.role]) for encoder in networks.encoders]
    seen = torch.cat([stored(faces, face) for face in shown])
    cosine = cosines(networks.encoders, seen, faces.landmarks.repeat(len(shown), 1, 1), identity)
    return (cosine / cosine.new_tensor(limits)[:, None, None]).amax(0)
