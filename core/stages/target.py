"""Whom machines are to take a face for: a persona, which is nobody, and a secret of each protection.

Who is only turned away from himself is turned the same way every time, so that two protected photos of a person match
one another.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from core.networks import Persona
from core.networks.personas import Traits
from core.stages.recompose import by_fit


def draw_targets(bank: Sequence[Persona], count: int, generator: torch.Generator) -> list[Persona]:
    """So many of the bank; some may be the same."""
    return [bank[k] for k in torch.randint(len(bank), (count,), generator=generator).tolist()]


def draw_fitting_targets(
    bank: tuple[Persona, ...], faces: Sequence[Traits], fitting: int, generator: torch.Generator
) -> list[Persona]:
    """One for each face, of so many that fit it best."""
    return [draw_targets(by_fit(traits, bank)[:fitting], 1, generator)[0] for traits in faces]
