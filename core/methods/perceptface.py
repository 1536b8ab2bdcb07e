"""PerceptFace-style: the same face to people, somebody else to machines, by a generator (arXiv:2509.11249).

A generator that has learned which small changes of a face turn networks away draws them in a few looks, where the cloak
searches for each photo. Each protection has a secret of its own, towards which the face is turned: two protections of
one photo differ, and a change cannot be computed from the photo alone. No more looks are taken than it takes.

Notation: x source, z its latent, e_k its identity by encoder k, s_k that of the secret, T random draw, G generator, u_j
change of the latent after j looks, P perceived distance by facial region, l limit of a pixel's change, M mask, C takes
most of the colour out of a change, c_k cosine that is aimed at, sd standard deviation.

    x(u) = x + M C(l tanh((Dec(z + u) - Dec(z)) / l))
    w_k = d/du mean_T ([cos(E_k(T(x(u_j))), e_k) - c_k]_+ - cos(E_k(T(x(u_j))), s_k))
    u_{j+1} = u_j + G_j(z, u_j, mean_k w_k / |w_k|, sd_k w_k / |w_k|, d/du P(x(u_j), x))

until cos(E_k(x(u_j)), e_k) is low enough for all k, and for an encoder that G is not shown.

Deviates: the paper's generator redraws the whole face under an identity that a small network maps from the source's,
always the same one; whoever trains on 200 pairs links 98 % of its pictures. Ours draws a change of the photo, so that
what is not changed stays sharp, under a secret. It is shown gradients, because without them it drew nearly the same on
all faces, and everybody saw it (DESIGN.md): so it is an optimiser that was learned.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from core.networks import Networks
from core.promise import Promise
from core.stages.align import AlignedFaces
from core.stages.decouple import identify
from core.stages.generate import Subject, Turning, turn_away
from core.stages.measure import SAME_LOOK
from core.stages.optimise import Progress, Protected
from core.stages.regions import change_masks, region_weights

PROMISE = Promise(people_recognise=True, machines_match=False)
NETWORKS = ("detector", "autoencoder", "encoders", "personas", "generator")
KEPT = SAME_LOOK + 0.003  # what a fringe may cost


@dataclass(frozen=True, slots=True)
class Config:
    """margin: share of the threshold at FAR 1e-2 by which surrogates must read less than that."""

    margin: float = 0.2
    turning: Turning = field(default_factory=lambda: Turning(kept=KEPT))
    variants: int = 1


PRESETS = {
    "natural": Config(margin=0.0, turning=Turning(aim=0.15, confirmation=0.05, kept=KEPT)),
    "standard": Config(),
    "strong": Config(margin=0.5, turning=Turning(aim=0.65, confirmation=0.5, kept=KEPT)),
}


def protect(
    faces: AlignedFaces, networks: Networks, config: Config, generator: torch.Generator, progress: Progress
) -> Protected:
    """Protected faces of all variants; whether the promise holds is for the pipeline to measure."""
    identity = identify(networks.encoders, faces.images, faces.landmarks)
    masks, regions = change_masks(faces.landmarks), region_weights(faces.landmarks)
    subject = Subject(faces.images, faces.landmarks, masks, regions, (identity,))
    images, looks = [], 0
    for v in range(config.variants):
        found, taken = turn_away(subject, faces, networks, config.turning, generator)
        images.append(found)
        looks += taken
        progress("optimise", (v + 1) / config.variants)
    return Protected(tuple(images), looks)
