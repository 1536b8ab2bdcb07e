"""People are told apart by what encoders read, and never joined within a photo."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from core.networks import Networks
from core.stages.decouple import Identity
from core.stages.people import tell_apart


def identities(networks: Networks, people: list[int], spread: float = 0.3) -> Identity:
    """Faces of people, each a direction of its own and some noise."""
    generator = torch.Generator().manual_seed(0)
    vectors = {}
    for encoder in networks.surrogates:
        d = encoder.centre.numel()
        own = F.normalize(torch.randn(max(people) + 1, d, generator=generator), dim=1)
        noise = F.normalize(torch.randn(len(people), d, generator=generator), dim=1)
        vectors[encoder.name] = F.normalize(own[people] + spread * noise, dim=1)
    return Identity(vectors)


def test_people_are_numbered_in_the_order_in_which_they_are_met(networks: Networks) -> None:
    people = [2, 0, 2, 1, 0, 2]
    photos = list("abcdef")
    assert tell_apart(identities(networks, people), photos, networks.surrogates) == [0, 1, 0, 2, 1, 0]


def test_two_faces_of_a_photo_are_two_people_however_alike(networks: Networks) -> None:
    found = tell_apart(identities(networks, [0, 0, 0, 0], spread=0.01), ["a", "a", "b", "b"], networks.surrogates)
    assert found[0] != found[1]
    assert found[2] != found[3]
    assert set(found) == {0, 1}


def test_one_face_and_none(networks: Networks) -> None:
    one = identities(networks, [0])
    assert tell_apart(one, ["a"], networks.surrogates) == [0]
    assert tell_apart(Identity({n: v[:0] for n, v in one.vectors.items()}), [], networks.surrogates) == []
