"""PerceptFace-style: the same face to people, somebody else to machines, by a generator (arXiv:2509.11249).

A face is first mixed with some of a persona that fits it, which is drawn as naturally as a face is and which people
hardly see. What machines still know then, a generator takes away that has learned which small changes of a face turn
networks away: it draws them in a few looks, where the cloak searches for each photo. Each protection has secrets of its
own, the persona and a direction towards which the face is turned: two protections of one photo differ, and a change
cannot be computed from the photo alone. No more looks are taken than it takes.

Notation: x source, p persona put on it, a its share, z latent of y, e_k identity of x by encoder k, s_k that of the
secret, T random draw, G generator, u_j change of the latent after j looks, P perceived distance by facial region, l
limit of a pixel's change, M mask, C takes most of the colour out of a change, c_k cosine that is aimed at, sd standard
deviation.

    y = x + a (p - x)
    x(u) = y + M C(l tanh((Dec(z + u) - Dec(z)) / l))
    w_k = d/du mean_T ([cos(E_k(T(x(u_j))), e_k) - c_k]_+ - cos(E_k(T(x(u_j))), s_k))
    u_{j+1} = u_j + G_j(z, u_j, mean_k w_k / |w_k|, sd_k w_k / |w_k|, d/du P(x(u_j), y))

until cos(E_k(x(u_j)), e_k) is low enough for all k, and for an encoder that G is not shown. Among the E_k are encoders
that have learned from pairs to read the originals of protected faces, so that who tries the same learns less. They are
left out of a face that others would still know if they were in, since people accept only so much of a change.

Deviates: the paper's generator redraws the whole face under an identity that a small network maps from the source's,
always the same one; whoever trains on 200 pairs links 98 % of its pictures. Ours draws a change of the photo, so that
what is not changed stays sharp, under a secret. It is shown gradients, because without them it drew nearly the same on
all faces, and everybody saw it (DESIGN.md): so it is an optimiser that was learned.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from core.networks import Networks
from core.promise import Promise
from core.stages.align import AlignedFaces
from core.stages.decouple import Appearance, decouple
from core.stages.generate import Subject, Turning, recognised, turn_away
from core.stages.measure import SAME_LOOK
from core.stages.optimise import Progress, Protected
from core.stages.recompose import choose, wear
from core.stages.regions import change_masks, region_weights

PROMISE = Promise(people_recognise=True, machines_match=False)
KEPT = SAME_LOOK + 0.0005  # for rounding
FITTING = 12  # personas that a face is mixed with one of


@dataclass(frozen=True, slots=True)
class Config:
    """margin: share of the threshold at FAR 1e-2 by which surrogates must read less than that. mixed: share of a
    persona that a face gets. adapted: whether it hides also from encoders that have learned to read protected faces.
    """

    margin: float = 0.2
    mixed: float = 0.35
    adapted: bool = True
    turning: Turning = field(default_factory=lambda: Turning(kept=KEPT))
    variants: int = 1


PRESETS = {
    "natural": Config(margin=0.0, adapted=False, turning=Turning(aim=0.2, confirmation=0.1, kept=KEPT)),
    "standard": Config(),
    "strong": Config(margin=0.3, turning=Turning(aim=0.65, confirmation=0.5, kept=KEPT)),
}


def protect(
    faces: AlignedFaces, networks: Networks, config: Config, generator: torch.Generator, progress: Progress
) -> Protected:
    """Protected faces of all variants; whether the promise holds is for the pipeline to measure."""
    learned = networks.adapted if config.adapted else ()
    everybody = replace(networks, encoders=networks.encoders + learned)
    identity, appearance = decouple(faces, everybody)
    masks, regions = change_masks(faces.landmarks), region_weights(faces.landmarks)
    images, looks = [], 0
    for v in range(config.variants):
        start = mix(faces, appearance, networks, config.mixed, generator)
        subject = Subject(start, faces.landmarks, masks, regions, (identity,), appearance.masks)
        found, taken = turn_away(subject, faces, everybody, config.turning, generator)
        known = recognised(found, subject, faces, networks, Turning(aim=config.margin, confirmation=0.0)) > 1
        if known.any() and learned:  # people accept too little to hide it from everybody
            instead, more = turn_away(subject, faces, networks, config.turning, generator)
            found, taken = torch.where(known[:, None, None, None], instead, found), taken + more
        images.append(found)
        looks += taken
        progress("optimise", (v + 1) / config.variants)
    return Protected(tuple(images), looks)


def mix(
    faces: AlignedFaces, appearance: Appearance, networks: Networks, share: float, generator: torch.Generator
) -> Float[Tensor, "b 3 256 256"]:
    """The faces with a share of a persona each, drawn of those that fit."""
    names = tuple(choose(traits, networks.personas, FITTING, generator)[0].plain for traits in appearance.traits)
    worn = wear(faces, appearance, networks.personas, names)
    return faces.images + share * (worn.images - faces.images)
