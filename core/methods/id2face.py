"""ID2Face-style: somebody else to people and to machines, in the photo's own pose, gaze and light (arXiv:2510.24213).

A new identity is drawn and the photo's attributes are kept, without any search. The identity of a face is drawn from
the persona bank: of the personas that fit its attributes, one that encoders take neither for the source nor for another
face of the photo nor for those already given. What hair, outline and light still tell machines of the source, and make
variants alike to them, the generator of `perceptface` takes away, where the bundle has one.

Notation: v_k identity of a recomposed face by encoder k, s_k the source's, o_k another's, t_k threshold at FAR 1e-2.

    near = max_k max(cos(v_k, s_k), max_o cos(v_k, o_k)) / t_k
    persona = the first in random order with near <= 1 + rest; if there is none, argmin near
    face = turn_away(its recomposition, s_k and the variants before it)    # core/stages/generate.py

Deviates: the paper's identity is sampled by an identity-conditioned diffusion model and made orthogonal to the source.
Ours has not learned to draw faces well enough (DESIGN.md), so identities are those of the bank, as many as there are
personas, and distant instead of orthogonal.

`pseudonym` finds one persona for a person in several photos; `Config.personas` puts it on.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from core.errors import RequestRefused
from core.networks import Networks
from core.presentation import Presenting
from core.promise import Promise
from core.stages.align import AlignedFaces
from core.stages.decouple import (
    Appearance,
    Identity,
    decouple,
    embed,
    identify,
    identify_personas,
    mean_traits,
    similarity,
)
from core.stages.generate import Subject, Turning, turn_away
from core.stages.optimise import Progress, Protected
from core.stages.recompose import (
    REACH,
    RECOGNISABLE,
    SPARE,
    Recomposed,
    choose,
    fitting,
    gather,
    recompose,
    wear,
)
from core.stages.regions import change_masks, region_weights

PROMISE = Promise(people_recognise=False, machines_match=False)
NETWORKS = ("detector", "encoders", "personas")
ROOM = 0.2  # share of the threshold by which a persona is to be safer, for networks and photos that it was not tried on
REST = 0.4  # share of the threshold beyond it that is left to the generator


@dataclass(frozen=True, slots=True)
class Config:
    """margin: see `Encoder.allowed`. candidates: personas tried for a face beyond one a variant. turning: of the faces
    that have got theirs. presentation: of the personas. personas: a name for each face, instead of trying any.
    """

    margin: float = 0.0
    candidates: int = 12
    turning: Turning = field(default_factory=lambda: Turning(aim=0.65, confirmation=0.5))
    variants: int = 1
    presentation: Presenting = Presenting.keep
    personas: tuple[str, ...] = ()


PRESETS = {
    "natural": Config(turning=Turning()),
    "standard": Config(),
    "strong": Config(margin=0.25, turning=Turning(aim=0.9, confirmation=0.7)),
}


@torch.no_grad()
def protect(
    faces: AlignedFaces, networks: Networks, config: Config, generator: torch.Generator, progress: Progress
) -> Protected:
    """Protected faces of all variants; each face gets somebody else in each."""
    identity, appearance = split(faces, networks)
    if config.personas:
        given = [wear(faces, appearance, networks.personas, config.personas)]
    else:
        tried = min(REACH, config.candidates + config.variants)
        candidates = recompose(faces, appearance, networks.personas, tried, generator, config.presentation)
        progress("optimise", 0.5)
        given = assign(candidates, faces, identity, networks, config)
    images, looks = turned(given, faces, identity, networks, config, generator)
    return Protected(images, looks, tuple(g.images for g in given), tuple(g.personas for g in given))


def split(faces: AlignedFaces, networks: Networks) -> tuple[Identity, Appearance]:
    """Identity and appearance without open eyes: with the source's own in all of them variants match one another."""
    identity, appearance = decouple(faces, networks)
    return identity, replace(appearance, eyes=torch.zeros_like(appearance.eyes))


def turned(
    given: list[Recomposed],
    faces: AlignedFaces,
    identity: Identity,
    networks: Networks,
    config: Config,
    generator: torch.Generator,
) -> tuple[tuple[Float[Tensor, "b 3 256 256"], ...], int]:
    """The faces of each variant, such that machines take them neither for a source nor for another face of this variant
    or an earlier one, and the looks it took; a bundle without a generator leaves them as they are."""
    if networks.generator is None:
        return tuple(g.images for g in given), 0
    bank = {persona.plain: persona for persona in networks.personas}
    wanted = [bank[name] for name in config.personas]
    # Photos under one persona are to be one person to machines as well: no secrets, which would tell them apart.
    towards = identify_personas(networks.surrogates, wanted, networks.device) if wanted else None
    avoided, images, looks = [one_of(identity, b) for b in range(len(faces))], [], 0
    for g in given:
        row = []
        for b in range(len(faces)):  # one after the other: two that are turned at once may end alike
            face = faces.face(b)
            masks, regions = change_masks(face.landmarks), region_weights(face.landmarks)
            subject = Subject(g.face(b).images, face.landmarks, masks, regions, tuple(avoided))
            whom = one_of(towards, b) if towards else None
            found, taken = turn_away(subject, face, networks.generator, networks, config.turning, generator, whom)
            avoided.append(identify(networks.encoders, found, face.landmarks))
            row.append(found)
            looks += taken
        images.append(torch.cat(row))
    return tuple(images), looks


def one_of(identity: Identity, b: int) -> Identity:
    """That of one face, (1, d) by encoder."""
    return Identity({name: v[b : b + 1] for name, v in identity.vectors.items()})


def assign(
    candidates: list[Recomposed], faces: AlignedFaces, identity: Identity, networks: Networks, config: Config
) -> list[Recomposed]:
    """A recomposition a variant, in which no face is taken for its source or for another that was given.

    Of the candidates, which are in the generator's order, the first that is safe: the one that is furthest off would be
    the same for nearly every seed, so that anybody with the original could tell it.
    """
    read = embed(
        networks.surrogates, torch.cat([c.images for c in candidates]), faces.landmarks.repeat(len(candidates), 1, 1)
    )
    limit = faces.images.new_tensor([e.thresholds[1e-2] for e in networks.surrogates])
    to_source = (similarity(read, identity) / limit[:, None, None]).amax(0)
    between = torch.stack([v @ v.T for v in read.vectors.values()]) / limit[:, None, None]
    between = between.amax(0).unflatten(1, to_source.shape).unflatten(0, to_source.shape)
    taken: list[tuple[int, int]] = []
    for b in range(len(faces)):
        for _ in range(config.variants):
            near = nearness(to_source[:, b], between[:, b], taken)
            near[[n for n, face in taken if face == b]] = torch.inf
            taken.append((first_safe(near, config, networks), b))
    picked = [[n for n, face in taken if face == b] for b in range(len(faces))]
    return [gather(candidates[rows[v]].face(b) for b, rows in enumerate(picked)) for v in range(config.variants)]


def nearness(
    to_source: Float[Tensor, " n"], between: Float[Tensor, "n m b"], taken: list[tuple[int, int]]
) -> Float[Tensor, " n"]:
    """How near machines find each candidate to the source, or to any that is taken, in shares of their thresholds."""
    others = [between[:, n, face] for n, face in taken]
    return torch.stack([to_source, *others]).amax(0)


def first_safe(near: Float[Tensor, " n"], config: Config, networks: Networks) -> int:
    """The first that keeps the margin with ROOM, or that the generator makes keep it; if there is none, the one that is
    nearest to it."""
    enough = 1 - config.margin - ROOM if networks.generator is None else 1 + REST
    safe = (near <= enough).nonzero()[:, 0]
    return int(safe[0] if len(safe) else near.argmin())


@torch.no_grad()
def pseudonym(
    sightings: list[AlignedFaces], networks: Networks, config: Config, taken: Set[str], generator: torch.Generator
) -> str:
    """One persona for a person in several photos, each sighting a single face; none that is `taken`.

    Of the personas that fit the person on average, the first in the generator's order that keeps the promise in every
    sighting with ROOM; if none does, the one that is nearest to it. So the face alone does not tell which it will be.

    Raises:
        RequestRefused: no persona is left.
    """
    bank = tuple(p for p in networks.personas if p.plain not in taken)
    if not bank:
        raise RequestRefused("more people than personas; protect fewer photos in one run")
    seen = [split(faces, networks) for faces in sightings]
    traits = mean_traits(appearance.traits[0] for _, appearance in seen)
    names = [p.plain for p in choose(*fitting(traits, bank, config.presentation), config.candidates, generator)]
    limit = sightings[0].images.new_tensor([e.thresholds[1e-2] for e in networks.surrogates])[:, None, None]
    scores = []
    for faces, (identity, appearance) in zip(sightings, seen, strict=True):
        worn = gather(wear(faces, appearance, bank, (name,)) for name in names)
        read = embed(networks.surrogates, worn.images, faces.landmarks.repeat(len(names), 1, 1))
        near = (similarity(read, identity) / limit).amax(0)[:, 0]
        scores.append(near + 100 * (worn.alike - RECOGNISABLE + SPARE).clamp_min(0))
    return names[first_safe(torch.stack(scores).amax(0), config, networks)]
