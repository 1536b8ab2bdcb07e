"""PerceptFace-style: the same face to people, somebody else to machines, by a generator (arXiv:2509.11249).

Each protection has a secret of its own, a persona, one of several people like the person: two protections of one photo
differ, and a change cannot be computed from the photo alone. The face is first mixed with some of it, which is drawn as
naturally as a face is and which people hardly see. The rest a generator does, which has learned what small changes turn
networks away from a face and towards another, and how little of them people see: it draws in a few looks what the cloak
searches for in a hundred steps. No more looks are taken than it takes.

Notation: x source, p the persona put on it, a its share, z latent of y, e_k identity of x by encoder k, s_k what is the
persona's own in its identity, T random draw, G generator, u_j change of the latent after j looks, P perceived distance
by facial region and of texture, l limit of a pixel's change, M mask, C takes most of the colour out of a change, c_k
cosine below which less is not asked for, sd standard deviation.

    y = x + a (p - x)
    x(u) = y + M C(l tanh((Dec(z + u) - Dec(z)) / l))
    w_k = d/du mean_T ([cos(E_k(T(x(u_j))), e_k) - c_k]_+ - cos(E_k(T(x(u_j))), s_k))
    u_{j+1} = u_j + G_j(z, u_j, mean_k w_k / |w_k|, sd_k w_k / |w_k|, d/du P(x(u_j), y))

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
from core.stages.decouple import decouple
from core.stages.generate import Subject, Turning, turn_away
from core.stages.measure import SAME_LOOK
from core.stages.optimise import Progress, Protected
from core.stages.recompose import wear
from core.stages.regions import change_masks, region_weights
from core.stages.target import draw_fitting_targets

PROMISE = Promise(people_recognise=True, machines_match=False)
KEPT = SAME_LOOK + 0.0005  # for rounding


@dataclass(frozen=True, slots=True)
class Config:
    """margin: share of the threshold at FAR 1e-2 by which surrogates must read less than that. fitting: different
    personas that a secret is drawn from, those most like the person. mixed: share of it that a face gets.
    """

    margin: float = 0.2
    fitting: int = 10
    mixed: float = 0.2
    turning: Turning = field(default_factory=lambda: Turning(kept=KEPT))
    variants: int = 1


PRESETS = {
    "natural": Config(margin=0.0, turning=Turning(aim=0.2, confirmation=0.1, kept=KEPT)),
    "standard": Config(),
    "strong": Config(margin=0.3, turning=Turning(aim=0.65, confirmation=0.5, kept=KEPT)),
}


def protect(
    faces: AlignedFaces, networks: Networks, config: Config, generator: torch.Generator, progress: Progress
) -> Protected:
    """Protected faces of all variants; whether the promise holds is for the pipeline to measure."""
    identity, appearance = decouple(faces, networks)
    masks, regions = change_masks(faces.landmarks), region_weights(faces.landmarks)
    secrets = draw_fitting_targets(appearance.traits, networks, config.fitting, config.variants, generator)
    images, looks = [], 0
    for v, secret in enumerate(secrets):
        worn = wear(faces, appearance, networks.personas, tuple(persona.plain for persona in secret.personas))
        start = torch.lerp(faces.images, worn.images, config.mixed)
        subject = Subject(start, faces.landmarks, masks, regions, (identity,), appearance.masks)
        found, taken = turn_away(subject, faces, networks, config.turning, secret.identity, generator)
        images.append(found)
        looks += taken
        progress("optimise", (v + 1) / config.variants)
    return Protected(tuple(images), looks)
