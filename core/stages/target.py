"""Whom machines are to take a face for: a persona, which is nobody, and a secret of each protection.

Who is only turned away from himself is turned the same way every time, so that two protected photos of a person match
one another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from core.networks import Networks, Persona
from core.networks.personas import Traits, unlike
from core.stages.decouple import Identity, identify_personas

PERSON = 4.0  # how much more it counts here that people are alike


@dataclass(frozen=True, slots=True)
class Targets:
    """personas: one for each of B faces. identity: what surrogates read in them that is their own."""

    personas: tuple[Persona, ...]
    identity: Identity


def draw_fitting_targets(
    faces: Sequence[Traits], networks: Networks, fitting: int, variants: int, generator: torch.Generator
) -> list[Targets]:
    """One for each face in each variant, of so many different people who are like him or her; no two of a photo's get
    the same one while there are others, or machines would take them for one person.

    What networks read in all of these on average is taken off: it is the person's as well, and what protections of him
    or her would have in common.
    """
    given: set[str] = set()
    pools = [people_like(traits, networks.personas, fitting) for traits in faces]
    known = [identify_personas(networks.surrogates, people).vectors for people in pools]
    targets = []
    for _ in range(variants):
        personas, own = [], []
        for people, read in zip(pools, known, strict=True):
            free = [k for k, persona in enumerate(people) if persona.plain not in given] or range(len(people))
            drawn = free[int(torch.randint(len(free), (1,), generator=generator))]
            personas.append(people[drawn])
            given |= {*people[drawn].alike, people[drawn].plain}
            own.append({name: F.normalize(v[drawn] - v.mean(0), dim=0) for name, v in read.items()})
        vectors = {encoder.name: torch.stack([v[encoder.name] for v in own]) for encoder in networks.surrogates}
        targets.append(Targets(tuple(personas), Identity(vectors)))
    return targets


def people_like(traits: Traits, bank: tuple[Persona, ...], count: int) -> list[Persona]:
    """So many, most like a face first, of whom machines take none for another; fewer if the bank has no more.

    Personas that fit a face are like one another, and two protections under personas that machines mix up can be linked
    as well as two under one.
    """
    order = sorted(bank, key=lambda p: traits.distance(p.traits) + PERSON * traits.unlikeness(p.traits))
    return unlike(order)[:count]
