"""Two personas are mixed, unless that looks like the source."""

from __future__ import annotations

import torch

from core.networks import Networks
from core.stages.align import AlignedFaces
from core.stages.decouple import decouple
from core.stages.recompose import RECOGNISABLE, SHARE, Recomposed, mixed


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def nobody(faces: AlignedFaces, seed: int) -> Recomposed:
    """Something that is nothing like the source."""
    images = torch.rand(faces.images.shape, generator=seeded(seed))
    return Recomposed(images, (str(seed),) * len(faces), torch.zeros(len(faces)))


def test_two_personas_are_mixed_by_a_random_share(faces: AlignedFaces, networks: Networks) -> None:
    appearance, starts = decouple(faces, networks)[1], [nobody(faces, seed) for seed in range(5)]
    twos = list(zip(starts[:2], starts[2:4], strict=True))
    generator, again = seeded(), seeded()
    found = [mixed(one, two, faces, appearance, generator) for one, two in twos]
    assert [mix.personas for mix in found] == [("0+2",), ("1+3",)]
    shares = []
    for mix, (one, two) in zip(found, twos, strict=True):
        share = float((mix.images - one.images).mean() / (two.images - one.images).mean())
        assert torch.allclose(mix.images, torch.lerp(one.images, two.images, share), atol=1e-3)
        assert SHARE[0] <= share <= SHARE[1]
        shares.append(share)
    assert abs(shares[0] - shares[1]) > 0.001
    assert all(
        (mixed(*two, faces, appearance, again).images == mix.images).all() for two, mix in zip(twos, found, strict=True)
    )


def test_a_mixture_that_looks_like_the_source_is_not_made(faces: AlignedFaces, networks: Networks) -> None:
    appearance, start = decouple(faces, networks)[1], nobody(faces, 1)
    her = Recomposed(faces.images, ("her",), torch.ones(1))
    faint = Recomposed(0.5 + 0.01 * (start.images - 0.5), ("faint",), torch.zeros(1))
    alone = mixed(faint, her, faces, appearance, seeded())
    assert alone.personas == ("faint",)
    assert (alone.images == faint.images).all()


def test_of_two_that_look_like_the_source_the_less_alike_is_taken(faces: AlignedFaces, networks: Networks) -> None:
    appearance, start = decouple(faces, networks)[1], nobody(faces, 1)
    her = Recomposed(faces.images, ("her",), torch.ones(1))
    faint = Recomposed(faces.images + 0.02 * (start.images - 0.5), ("faint",), torch.ones(1) * 0.99)
    less = mixed(her, faint, faces, appearance, seeded())
    assert RECOGNISABLE < float(less.alike) < 1
    assert less.personas == ("her+faint",)
