"""One new identity a person, over many photos, without keeping who anybody is.

Identities are read, people told apart, a persona is drawn for each of them, and the identities are forgotten: only
which persona which face was given is handed back.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch

from core.errors import SiderError
from core.methods import id2face
from core.networks import Networks
from core.stages.align import AlignedFaces, align
from core.stages.decouple import Identity, identify
from core.stages.people import tell_apart
from core.stages.validate import Photo

SIGHTINGS = 3  # of a person, that a persona is tried on

Read = Callable[[str], Photo]
Count = Callable[[int, int], None]  # so many are done, of so many
Place = tuple[str, int]  # a photo, and the number of a face in it, largest first


@dataclass(frozen=True, slots=True)
class Album:
    """Photos by name. `read` raises SiderError or OSError; a photo that cannot be read, or has no face, is left out."""

    names: Sequence[str]
    read: Read
    networks: Networks

    def faces(self, name: str) -> AlignedFaces:
        """All faces of a photo (SiderError, OSError)."""
        return align(self.read(name), self.networks.detector, self.networks.device)

    def people(self, progress: Count) -> list[list[Place]]:
        """Where each person is."""
        places: list[Place] = []
        seen: list[Identity] = []
        for n, name in enumerate(self.names):
            progress(n, len(self.names))
            try:
                faces = self.faces(name)
            except (SiderError, OSError):
                continue
            seen.append(identify(self.networks.surrogates, faces.images, faces.landmarks))
            places += [(name, b) for b in range(len(faces))]
        if not places:
            return []
        surrogates = self.networks.surrogates
        identity = Identity({e.name: torch.cat([s.vectors[e.name] for s in seen]) for e in surrogates})
        numbers = tell_apart(identity, [name for name, _ in places], surrogates)
        people: dict[int, list[Place]] = defaultdict(list)
        for number, place in zip(numbers, places, strict=True):
            people[number].append(place)
        return list(people.values())


def draw(
    album: Album,
    config: id2face.Config,
    before: Mapping[str, Sequence[str]],
    generator: torch.Generator,
    progress: Count,
) -> dict[str, tuple[str, ...]]:
    """The personas of each photo's faces, largest first: the same for the same person, and for nobody else.

    before: what photos were given in an earlier run; who is in one of them keeps that persona.

    Raises:
        RequestRefused: more people than personas of the look that is asked for.
    """
    people = album.people(progress)
    given = [_kept(places, before, {p.plain for p in album.networks.personas}) for places in people]
    taken = {name for name in given if name}
    for n, places in enumerate(people):
        progress(n, len(people))
        if given[n] is None:
            some = places[:: -(-len(places) // SIGHTINGS)]
            sightings = [album.faces(name).face(b) for name, b in some]
            given[n] = id2face.pseudonym(sightings, album.networks, config, taken, generator)
            taken.add(cast(str, given[n]))
    by_place = {place: cast(str, given[n]) for n, places in enumerate(people) for place in places}
    counts = Counter(name for name, _ in by_place)
    return {name: tuple(by_place[name, b] for b in range(count)) for name, count in counts.items()}


def _kept(places: list[Place], before: Mapping[str, Sequence[str]], bank: set[str]) -> str | None:
    """What most of these places were given before, if the bank still has it."""
    given = (before[name][b] for name, b in places if b < len(before.get(name, ())))
    most = Counter(name for name in given if name in bank).most_common(1)
    return most[0][0] if most else None
