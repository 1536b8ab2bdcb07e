"""ID2Face-style: somebody else to people and to machines, in the photo's own pose, gaze and light (arXiv:2510.24213).

A new identity is drawn and the photo's attributes are kept, without any search. The identity of a face is a mixture of
a persona that fits its attributes and one that machines take for it, by a random share, or where that looks like the
source the persona; encoders take it neither for the source nor for another face of the photo nor for those already
given. What hair, outline and light still tell machines of the source, and make variants alike to them, the generator of
`perceptface` takes away, where the bundle has one: it draws a face nearer to the personas that it wears.

Notation: v_k identity of a recomposed face by encoder k, s_k the source's, o_k another's as it became, p_k its own
personas' (of a single variant without what all mixtures share), t_k threshold at FAR 1e-2.

    near = max_k max(cos(v_k, s_k), max_o cos(v_k, o_k)) / t_k
    mixture = the first in random order with near <= 1 + rest; if there is none, argmin near
    face = turn_away(its recomposition, from s_k and all o_k, towards p_k)    # core/stages/generate.py

and where a network still recognises the face, the next mixture.

Deviates: the paper's identity is sampled by an identity-conditioned diffusion model and made orthogonal to the source.
Ours has not learned to draw faces well enough (DESIGN.md), so identities are those of the bank and between them, and
distant instead of orthogonal.

`pseudonym` finds one persona for a person in several photos; `Config.personas` puts it on, unmixed.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from core.errors import RequestRefused
from core.looks import Age, Look, Presenting
from core.networks import Networks, Persona
from core.networks.personas import plain
from core.promise import Promise
from core.stages.align import AlignedFaces, Stored
from core.stages.decouple import (
    Appearance,
    Identity,
    decouple,
    embed,
    identify,
    identify_personas,
    mean_traits,
    similarity,
    thresholds,
)
from core.stages.generate import Subject, Turning, recognised, turn_away
from core.stages.optimise import Progress, Protected
from core.stages.recompose import (
    REACH,
    RECOGNISABLE,
    SPARE,
    Recomposed,
    apart,
    by_fit,
    choose,
    fitting,
    gather,
    mixed,
    partner,
    recompose,
    wear,
)
from core.stages.regions import change_masks, region_weights

PROMISE = Promise(people_recognise=False, machines_match=False)
ROOM = 0.2  # share of the threshold by which a persona is to be safer, for networks and photos that it was not tried on
REST = 0.4  # share of the threshold beyond it that is left to the generator
TRIES = 12  # candidates that are turned for a face at most


@dataclass(frozen=True, slots=True)
class Config:
    """margin: see `Encoder.allowed`. candidates: personas tried for a face beyond four a variant; they are mixed by
    twos. turning: of those that are given. presentation and age: of the personas. personas: a name for each face,
    instead of trying any.
    """

    margin: float = 0.0
    candidates: int = 6
    turning: Turning = field(default_factory=lambda: Turning(aim=0.65, confirmation=0.5))
    variants: int = 1
    presentation: Presenting = Presenting.keep
    age: Age = Age.keep
    personas: tuple[str, ...] = ()

    @property
    def look(self) -> Look:
        return Look(self.presentation, self.age)


PRESETS = {
    "natural": Config(turning=Turning()),
    "standard": Config(),
    "strong": Config(margin=0.25, turning=Turning(aim=0.9, confirmation=0.7)),
}


@torch.no_grad()
def protect(
    faces: AlignedFaces, networks: Networks, config: Config, generator: torch.Generator, progress: Progress
) -> Protected:
    """Protected faces of all variants; each face gets somebody else in each.

    Raises:
        RequestRefused: more than one variant of personas that are given.
    """
    if config.personas and config.variants > 1:
        raise RequestRefused("personas that are given make one variant")
    identity, appearance = split(faces, networks, config.variants)
    if config.personas:
        candidates = [wear(faces, appearance, networks.personas, config.personas)]
    else:
        candidates = draw_candidates(faces, appearance, networks.personas, config, generator)
    progress("optimise", 0.3)
    return cast(Casting(candidates, faces, identity, networks, config), generator, progress)


def draw_candidates(
    faces: AlignedFaces, appearance: Appearance, bank: tuple[Persona, ...], config: Config, generator: torch.Generator
) -> list[Recomposed]:
    """Mixtures, each of a persona and one that machines take for it, so that it is as calm as two are and still not
    mistaken for the next."""
    tried = min(REACH, config.candidates // 2 + 2 * config.variants)
    asked = [fitting(traits, bank, config.look) for traits in appearance.traits]
    fitted = [by_fit(*some) for some in asked]
    personas = [
        choose(apart(traits, some, config.variants), tried, generator)
        for (traits, _), some in zip(asked, fitted, strict=True)
    ]
    starts = recompose(faces, appearance, personas, needed=config.variants, tried=tried)
    found = []
    for start in starts:
        names = [partner(name, some, generator) for name, some in zip(start.personas, fitted, strict=True)]
        found.append(mixed(start, wear(faces, appearance, bank, tuple(names)), faces, appearance, generator))
    return found


def split(faces: AlignedFaces, networks: Networks, variants: int = 1) -> tuple[Identity, Appearance]:
    """Identity, and appearance without what variants would match by: open eyes and, of several, the skin's flush."""
    identity, appearance = decouple(faces, networks)
    return identity, replace(appearance, eyes=torch.zeros_like(appearance.eyes), flushed=variants == 1)


def cast(casting: Casting, generator: torch.Generator, progress: Progress) -> Protected:
    """The faces of each variant, such that machines take them neither for a source nor for another face of this variant
    or an earlier one."""
    faces, config = casting.faces, casting.config
    images, starts, looks = [], [], 0
    for v in range(config.variants):
        row = []
        for b in range(len(faces)):  # one after the other: two that are turned at once may end alike
            given, steps = casting.give(b, generator)
            row.append(given)
            looks += steps
            progress("optimise", 0.3 + 0.7 * (v + (b + 1) / len(faces)) / config.variants)
        images.append(torch.cat([given.image for given in row]))
        starts.append(gather(given.start for given in row))
    return Protected(tuple(images), looks, tuple(starts))


@dataclass(frozen=True, slots=True)
class Given:
    """What a face got: a candidate, its recomposition, and that turned away from all who are avoided, (1, 3, 256, 256).
    known: the largest cosine to any of them, in shares of what leaves ROOM."""

    candidate: int
    start: Recomposed
    image: Tensor
    known: float


class Casting:
    """Who may be given to the faces of a photo, and who has been.

    candidates: recompositions, in the generator's order. read: what machines read in them, (n b, d) by encoder.
    avoided: for whom no face is to be taken any more. given: candidates and the faces that have them. bank: personas by
    their plain names.
    """

    def __init__(
        self,
        candidates: list[Recomposed],
        faces: AlignedFaces,
        identity: Identity,
        networks: Networks,
        config: Config,
    ) -> None:
        self.candidates, self.faces, self.networks, self.config = candidates, faces, networks, config
        images, landmarks = torch.cat([c.images for c in candidates]), faces.landmarks.repeat(len(candidates), 1, 1)
        self.read = embed(networks.encoders, images, landmarks)
        self.avoided = [identity.face(b) for b in range(len(faces))]
        self.given: list[tuple[int, int]] = []
        self.bank = {persona.plain: persona for persona in networks.personas}

    def give(self, b: int, generator: torch.Generator) -> tuple[Given, int]:
        """Somebody for a face, and the looks it took: the first in order whom machines take for nobody else; of several
        whom they do, the one of whom they are least sure."""
        tried, looks = list[Given](), 0
        for candidate in self.order(b):
            turned, steps = self.turned(candidate, b, generator)
            tried.append(turned)
            looks += steps
            if turned.known <= 1:
                break
        best = min(tried, key=lambda g: g.known)
        self.given.append((best.candidate, b))
        self.avoided.append(identify(self.networks.encoders, best.image, self.faces.face(b).landmarks))
        return best, looks

    def order(self, b: int) -> list[int]:
        """TRIES candidates for a face.

        First the safe ones in the generator's order: the one that is furthest off would be the same for nearly every
        seed, so that anybody with the original could tell it.
        """
        read = Identity({name: v[b :: len(self.faces)] for name, v in self.read.vectors.items()})
        left = [n for n in range(len(self.candidates)) if (n, b) not in self.given]
        return by_safety(nearness(read, self.avoided, self.networks), left, self.config, self.networks)[:TRIES]

    def target(self, candidate: int, b: int) -> Identity:
        """Whom a candidate is turned towards as face `b`: the personas that it is made of, a secret that fits it.

        A single variant without what all candidates have in common: other photos' have it, too. Of several, which are
        turned away from one another besides, less is to be drawn.
        """
        target = self.made_of([candidate], b)
        if self.config.variants == 1 < len(self.candidates):
            common = self.made_of(range(len(self.candidates)), b)
            target = {name: v - common[name] for name, v in target.items()}
        return Identity({name: F.normalize(v, dim=1) for name, v in target.items()})

    def made_of(self, candidates: Iterable[int], b: int) -> dict[str, Float[Tensor, "1 d"]]:
        """What surrogates read on average in the personas that these are made of as face `b`."""
        names = dict.fromkeys(plain(n) for c in candidates for n in self.candidates[c].personas[b].split("+"))
        read = identify_personas(self.networks.surrogates, [self.bank[name] for name in names])
        return {name: v.mean(0, keepdim=True) for name, v in read.vectors.items()}

    def turned(self, candidate: int, b: int, generator: torch.Generator) -> tuple[Given, int]:
        """A candidate as face `b`, turned away from all who are avoided, and the looks it took; a bundle without a
        generator leaves it as it is."""
        start, face = self.candidates[candidate].face(b), self.faces.face(b)
        masks, regions = change_masks(face.landmarks), region_weights(face.landmarks)
        subject = Subject(start.images, face.landmarks, masks, regions, tuple(self.avoided))
        image, looks = start.images, 0
        if self.networks.generator:
            towards = self.target(candidate, b)
            image, looks = turn_away(subject, face, self.networks, self.config.turning, towards, generator)
        # What is aimed at is more than is promised: short of it a face is good enough, if there is room.
        enough = Turning(aim=self.config.margin + ROOM, confirmation=ROOM)
        known = float(recognised(image, subject, Stored(face), self.networks, enough))
        return Given(candidate, start, image, known), looks


def nearness(read: Identity, whom: Iterable[Identity], networks: Networks) -> Float[Tensor, " n"]:
    """How near machines find each of n faces to any of these people, in shares of their thresholds at FAR 1e-2."""
    cosines = torch.stack([similarity(read, who)[:, :, 0] for who in whom])
    near: Tensor = (cosines / thresholds(networks.encoders, 1e-2)[:, :, 0]).amax((0, 1))
    return near


def by_safety(near: Float[Tensor, " n"], among: list[int], config: Config, networks: Networks) -> list[int]:
    """Those that keep the margin with ROOM, or that the generator makes keep it, in their order; then the others, the
    nearest to it first."""
    enough = 1 - config.margin - ROOM if networks.generator is None else 1 + REST
    return sorted(among, key=lambda n: max(0.0, float(near[n]) - enough))


@torch.no_grad()
def pseudonym(
    sightings: list[AlignedFaces], networks: Networks, config: Config, taken: Set[str], generator: torch.Generator
) -> str:
    """One persona for a person in several photos, each sighting a single face; none that is `taken`.

    Of the personas that fit the person on average, the first in the generator's order that is safe in every sighting,
    or the one that is nearest to it. So the face alone does not tell which it will be.

    Raises:
        RequestRefused: no persona of the look that is asked for is left.
    """
    bank = tuple(p for p in networks.personas if p.plain not in taken)
    seen = [split(faces, networks) for faces in sightings]
    traits = mean_traits(appearance.traits[0] for _, appearance in seen)
    some = by_fit(*fitting(traits, bank, config.look))
    names = [p.plain for p in choose(some, config.candidates, generator)]
    if not names:
        raise RequestRefused("more people than personas of this look; protect fewer photos in one run")
    limit = thresholds(networks.surrogates, 1e-2)
    scores = []
    for faces, (identity, appearance) in zip(sightings, seen, strict=True):
        worn = gather(wear(faces, appearance, bank, (name,)) for name in names)
        read = embed(networks.surrogates, worn.images, faces.landmarks.repeat(len(names), 1, 1))
        near = (similarity(read, identity) / limit).amax(0)[:, 0]
        scores.append(near + 100 * (worn.alike - RECOGNISABLE + SPARE).clamp_min(0))
    return names[by_safety(torch.stack(scores).amax(0), list(range(len(names))), config, networks)[0]]
