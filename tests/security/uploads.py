"""A hostile or odd upload, and the codes with which the service answers one."""

from __future__ import annotations

from dataclasses import dataclass

ACCEPTED = "accepted"
DAMAGED, FORMAT, LARGE, SMALL = "photo_damaged", "photo_format", "photo_too_large", "photo_too_small"
ANIMATED, COLOUR, DEPTH = "photo_animated", "photo_colour_mode", "photo_bit_depth"
TRANSPARENT, COMPLEX, EMPTY = "photo_transparent", "photo_too_complex", "photo_empty"


@dataclass(frozen=True, slots=True)
class Upload:
    """`answers`: the codes of which the service gives one; ACCEPTED is one of them."""

    name: str
    data: bytes
    answers: tuple[str, ...]
