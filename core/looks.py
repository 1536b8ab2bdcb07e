"""Which faces are to have what new look; torch-free, because callers ask for it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Presenting(StrEnum):
    """Gender presentation: as the face has it, one of two whatever the face has, or none in particular."""

    keep = "keep"
    feminine = "feminine"
    masculine = "masculine"
    any = "any"


class Age(StrEnum):
    """As old as the face looks, a band of ages however old it looks, or of none in particular."""

    keep = "keep"
    young = "young"
    middle = "middle"
    old = "old"
    any = "any"


class Faces(StrEnum):
    """Which faces of a photo."""

    all = "all"
    largest = "largest"


BANDS = {Age.young: (0, 35), Age.middle: (35, 50), Age.old: (50, 150)}  # years that a face looks, from and below


@dataclass(frozen=True, slots=True)
class Look:
    """What is asked of a new face."""

    presentation: Presenting = Presenting.keep
    age: Age = Age.keep
