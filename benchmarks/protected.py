"""What attackers own, and what they are tried on. Protected faces lie in .work/attacks/<method>-<preset>/."""

from __future__ import annotations

from itertools import cycle, islice
from pathlib import Path

from benchmarks.strangers import Pairs, Pixels
from core.networks import Networks
from training import portraits, protected
from training.protected import Original

FOLDER = Path(".work/attacks")
LINKED = 1000  # added to the seed of photo b, so that no draw is shared with photo a


def owned(count: int) -> list[Original]:
    """What an attacker protects; once there are no more people, their portraits again, under other secrets."""
    people = islice(cycle(portraits.people()), count)
    return [Original.of(row, f"own-{n:04d}", n) for n, row in enumerate(people)]


def tested(data: Pairs, photo: str) -> list[Original]:
    """Photos "a" or "b" of the development pairs."""
    images, marks = (data.a, data.marks_a) if photo == "a" else (data.b, data.marks_b)
    shift = 0 if photo == "a" else LINKED
    return [
        Original(f"test-{number:03d}{photo}", image.permute(1, 2, 0).numpy().copy(), mark, number + shift)
        for number, image, mark in zip(data.numbers, images, marks, strict=True)
    ]


def protect(name: str, preset: str, originals: list[Original], networks: Networks) -> list[Pixels | None]:
    """Protected photos in this order; None where no face was found."""
    return protected.protect(name, preset, originals, networks, FOLDER / f"{name}-{preset}")
