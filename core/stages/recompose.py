"""Give a face a new appearance: choose a persona, and bring it into the photo's pose, light and context."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from core import objectives
from core.errors import RequestRefused
from core.looks import BANDS, Age, Look, Presenting
from core.networks import Persona
from core.networks.parallel import spread
from core.networks.personas import Traits, unlike
from core.stages.align import AlignedFaces
from core.stages.compose import Setting, compose
from core.stages.decouple import Appearance, to_arrays

# Likeness (same eyes and light) above which a look might be taken for the source's. Measured: two people 0.61 (median;
# 95 % of pairs below 0.71), two who fit each other 0.66 (0.74), one person in two photos 0.84 (5 % below 0.70); see
# benchmarks/engine.py.
RECOGNISABLE = 0.68
BEARDLESS = -0.2  # gender presentation below which a rough lower face is no beard but a hand, a strand or a dark photo
SPARE = 0.05  # what the optimiser and stored pixels may add
SPREAD = 3  # personas that a seed draws from beyond those that are tried, best fitting first
# Best-fitting personas of which those are preferred that are unlike one another, and how many more for each further
# variant: of 25 machines tell five or six apart. None is among them that is further from the person than LIKE.
NEAREST, MORE, LIKE = 25, 7, 5.0
PARTNERS = 4  # with whom a persona may be mixed
SHARE = 0.35, 0.65  # of a second persona in a mixture, at least and at most
REACH = 32  # how many may be tried in all, when those look too much like the source


@dataclass(frozen=True, slots=True)
class Recomposed:
    """images: faces with a persona's interior in the source's context, RGB in [0, 1] (B, 3, 256, 256).

    personas: a name a face; two with a plus where they are mixed. alike: likeness to the source, (B,); above
    RECOGNISABLE they may be taken for it.
    """

    images: Float[Tensor, "b 3 256 256"]
    personas: tuple[str, ...]
    alike: Float[Tensor, " b"]

    def face(self, b: int) -> Recomposed:
        """One of them, as a batch of its own."""
        return Recomposed(self.images[b : b + 1], self.personas[b : b + 1], self.alike[b : b + 1])


def recompose(
    faces: AlignedFaces, appearance: Appearance, candidates: Sequence[list[Persona]], needed: int, tried: int
) -> list[Recomposed]:
    """`tried` recompositions of all faces, or as many as there are candidates if these are at least those `needed`; no
    face gets the same persona twice.

    candidates: of each face, in the order in which they are tried.

    Raises:
        RequestRefused: there are not so many.
    """
    count = min(tried, *(len(some) for some in candidates))
    if count < needed:
        raise RequestRefused(
            f"the bundle has {count} personas to choose from, and {needed} are needed; ask for fewer variants, for "
            "another presentation or age, or take a bundle with more personas"
        )
    rows = [_recompose_one(faces, appearance, b, some, count) for b, some in enumerate(candidates)]
    return [gather(row[v] for row in rows) for v in range(count)]


def apart(traits: Traits, fitted: list[Persona], variants: int) -> list[Persona]:
    """First those of the NEAREST like the person that are unlike one another, then the rest. Whoever fits best fits all
    photos of a person, and machines take the second best for the best."""
    like = [p for p in fitted if traits.unlikeness(p.traits) <= LIKE]
    return list(dict.fromkeys([*unlike(like[: NEAREST + MORE * (variants - 1)]), *fitted]))


def partner(name: str, fitted: list[Persona], generator: torch.Generator) -> str:
    """The plain name of one of the PARTNERS best-fitting personas that machines take for this one; itself, if none."""
    (persona,) = (p for p in fitted if p.name == name)
    near = [p.plain for p in fitted if p.plain in persona.alike][:PARTNERS] or [persona.plain]
    return near[int(torch.randint(len(near), (1,), generator=generator))]


def mixed(
    start: Recomposed, other: Recomposed, faces: AlignedFaces, appearance: Appearance, generator: torch.Generator
) -> Recomposed:
    """Each face mixed with that of another recomposition, by a random share, so that there are more looks than
    personas; by itself where the mixture might be taken for the source and it might not."""
    low, high = SHARE
    share = low + (high - low) * torch.rand(len(faces), 1, 1, 1, generator=generator).to(start.images)
    images = torch.lerp(start.images, other.images, share)
    alike = objectives.likeness(images, faces.images, appearance.features)
    both = (alike <= RECOGNISABLE - SPARE) | (alike < start.alike)
    names = zip(start.personas, other.personas, both.tolist(), strict=True)
    return Recomposed(
        torch.where(both[:, None, None, None], images, start.images),
        tuple(f"{one}+{two}" if mix else one for one, two, mix in names),
        torch.where(both, alike, start.alike),
    )


def gather(rows: Iterable[Recomposed]) -> Recomposed:
    """Recompositions of single faces as one batch."""
    rows = list(rows)
    names = tuple(name for r in rows for name in r.personas)
    return Recomposed(torch.cat([r.images for r in rows]), names, torch.cat([r.alike for r in rows]))


def _recompose_one(
    faces: AlignedFaces, appearance: Appearance, b: int, candidates: list[Persona], count: int
) -> list[Recomposed]:
    """The first `count` candidates that do not look like face `b`; if too few, those that look least like it."""
    put_on = partial(_put_on, faces, appearance, b, _setting(faces, appearance, b))
    tried: list[Recomposed] = []
    missing = count
    while missing and len(tried) < len(candidates):
        tried += spread(put_on, candidates[len(tried) : len(tried) + missing])
        missing = count - sum(bool(r.alike <= RECOGNISABLE - SPARE) for r in tried)
    # Stable: among those that are unlike enough the generator's order stays.
    tried.sort(key=lambda r: max(0.0, float(r.alike) - RECOGNISABLE + SPARE))
    return tried[:count]


def distinct(
    order: list[int], images: Float[Tensor, "k 3 256 256"], features: Float[Tensor, "1 1 256 256"], count: int
) -> list[int]:
    """The first `count` in this order whose looks are not taken for one another; if all are, the least alike."""
    taken, rest = order[:1], order[1:]
    while rest and len(taken) < count:
        pairs = ([objectives.likeness(images[i : i + 1], images[j : j + 1], features) for j in taken] for i in rest)
        alike = [float(torch.stack(pair).max()) for pair in pairs]
        unlike = (k for k, a in enumerate(alike) if a <= RECOGNISABLE)
        taken.append(rest.pop(next(unlike, alike.index(min(alike)))))
    return taken


def wear(faces: AlignedFaces, appearance: Appearance, bank: tuple[Persona, ...], names: tuple[str, ...]) -> Recomposed:
    """The faces with these personas, one a face, turned whichever way fits."""
    rows = []
    for b, (name, traits) in enumerate(zip(names, appearance.traits, strict=True)):
        ways = (p for p in bank if p.plain == name)
        persona = min(ways, key=lambda p: traits.distance(p.traits))
        rows.append(_put_on(faces, appearance, b, _setting(faces, appearance, b), persona))
    return gather(rows)


def _setting(faces: AlignedFaces, appearance: Appearance, b: int) -> Setting:
    covered, eyes = (masks[b, 0].cpu().numpy() for masks in (appearance.covered, appearance.eyes))
    picture, marks = to_arrays(faces.images[b : b + 1])[0], faces.landmarks[b].cpu().numpy()
    shaven = appearance.traits[b].presentation < BEARDLESS
    return Setting.of(picture, marks, covered, eyes, appearance.flushed, shaven)


def _put_on(faces: AlignedFaces, appearance: Appearance, b: int, setting: Setting, persona: Persona) -> Recomposed:
    """Face `b` with the persona, as near to its shape as it may be without being taken for it."""
    face, features = faces.images[b : b + 1], appearance.features[b : b + 1]
    for composed in compose(setting, persona):
        image = torch.from_numpy(composed).permute(2, 0, 1)[None].to(face)
        alike = objectives.likeness(image, face, features)
        if alike <= RECOGNISABLE - SPARE:
            break
    return Recomposed(image, (persona.name,), alike)


def fitting(traits: Traits, bank: tuple[Persona, ...], look: Look) -> tuple[Traits, tuple[Persona, ...]]:
    """The traits that a persona must fit, and the personas there are, if this look is asked for."""
    if look.presentation is Presenting.any:
        bank = tuple(replace(p, traits=replace(p.traits, presentation=traits.presentation)) for p in bank)
    elif look.presentation is not Presenting.keep:
        # Alone, the distance would let through whom nobody asked for, if skin and smile fit better.
        side = 1.0 if look.presentation is Presenting.masculine else -1.0
        traits, bank = replace(traits, presentation=side), tuple(p for p in bank if p.traits.presentation * side > 0)
    if look.age is Age.any:
        bank = tuple(replace(p, traits=replace(p.traits, age=traits.age)) for p in bank)
    elif look.age is not Age.keep:
        youngest, older = BANDS[look.age]
        traits = replace(traits, age=min(max(traits.age, youngest), older))
        bank = tuple(p for p in bank if youngest <= p.traits.age < older)
    return traits, bank


def choose(found: list[Persona], count: int, generator: torch.Generator) -> list[Persona]:
    """About REACH of these, best-fitting first: a pool of the best in the generator's order, then the others."""
    pool = min(len(found), count + SPREAD)
    drawn = torch.randperm(pool, generator=generator).tolist()
    return [found[i] for i in drawn] + found[pool:REACH]


def by_fit(traits: Traits, bank: tuple[Persona, ...]) -> list[Persona]:
    """Different personas, best-fitting first, each turned whichever way fits."""
    found: dict[str, Persona] = {}
    for persona in sorted(bank, key=lambda p: traits.distance(p.traits)):
        found.setdefault(persona.plain, persona)
    return list(found.values())
