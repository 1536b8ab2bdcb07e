"""Which gender presentation a new face is to have; torch-free, because callers ask for it."""

from __future__ import annotations

from enum import StrEnum


class Presenting(StrEnum):
    """As the face has it, one of two whatever the face has, or none in particular."""

    keep = "keep"
    feminine = "feminine"
    masculine = "masculine"
    any = "any"
