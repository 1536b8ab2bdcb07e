"""Whom machines are to take a face for: a persona, which is nobody, and a secret of each protection.

Who is only turned away from himself is turned the same way every time, so that two protected photos of a person match
one another.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from core.networks import Persona
from core.networks.personas import Traits

PERSON = 4.0  # how much more it counts here that people are alike


def draw_targets(bank: Sequence[Persona], count: int, generator: torch.Generator) -> list[Persona]:
    """So many of the bank; some may be the same."""
    return [bank[k] for k in torch.randint(len(bank), (count,), generator=generator).tolist()]


def draw_unlike_target(bank: Sequence[Persona], taken: Sequence[Persona], generator: torch.Generator) -> Persona:
    """One whom machines take for none of those that are taken, as long as there is such a one."""
    avoided = {persona.plain for persona in taken}
    unlike = [persona for persona in bank if not avoided & {persona.plain, *persona.alike}]
    return draw_targets(unlike or bank, 1, generator)[0]


def draw_fitting_targets(
    bank: tuple[Persona, ...], faces: Sequence[Traits], fitting: int, generator: torch.Generator
) -> list[Persona]:
    """One for each face, of so many different people who are like him or her."""
    return [draw_targets(people_like(traits, bank, fitting), 1, generator)[0] for traits in faces]


def people_like(traits: Traits, bank: tuple[Persona, ...], count: int) -> list[Persona]:
    """So many, most like a face first, of whom machines take none for another; fewer if the bank has no more.

    Personas that fit a face are like one another, and two protections under personas that machines mix up can be linked
    as well as two under one.
    """
    order = sorted(bank, key=lambda p: traits.distance(p.traits) + PERSON * traits.unlikeness(p.traits))
    found: list[Persona] = []
    for persona in order:
        if not any(persona.plain in {*other.alike, other.plain} for other in found):
            found.append(persona)
    return found[:count]
