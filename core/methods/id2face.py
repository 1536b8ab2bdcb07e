"""ID2Face-style: somebody else to people and to machines, in the photo's own pose, gaze and light (arXiv:2510.24213).

A new identity is drawn and the photo's attributes are kept, without any optimisation. The identity of a face is drawn
from the persona bank: of the personas that fit its attributes, one that encoders find as far as they can from the
source, from the photo's other faces and from those already given.

Notation: v_k identity of a recomposed face by encoder k, s_k the source's, o_k another's, t_k threshold at FAR 1e-2.

    persona = argmin max_k max(cos(v_k, s_k), max_o cos(v_k, o_k)) / t_k

Deviates: the paper's identity is sampled by an identity-conditioned diffusion model and made orthogonal to the source.
Ours has not learned to draw faces well enough (DESIGN.md), so identities are those of the bank, and the most nearly
orthogonal one is taken. So there are as many new identities as personas.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from core.networks import Networks
from core.promise import Promise
from core.stages.align import AlignedFaces
from core.stages.decouple import Identity, decouple, embed, similarity
from core.stages.optimise import Progress, Protected
from core.stages.recompose import REACH, Recomposed, gather, recompose

PROMISE = Promise(people_recognise=False, machines_match=False)
NETWORKS = ("detector", "encoders", "personas")


@dataclass(frozen=True, slots=True)
class Config:
    """margin: see `Encoder.allowed`. candidates: personas tried for a face beyond one a variant."""

    margin: float = 0.0
    candidates: int = REACH
    variants: int = 1


PRESETS = {
    "natural": Config(candidates=20),
    "standard": Config(),
    "strong": Config(margin=0.25),
}


@torch.no_grad()
def protect(
    faces: AlignedFaces, networks: Networks, config: Config, generator: torch.Generator, progress: Progress
) -> Protected:
    """Protected faces of all variants; each face gets somebody else in each."""
    identity, appearance = decouple(faces, networks)
    tried = min(REACH, config.candidates + config.variants)
    candidates = recompose(faces, appearance, networks.personas, tried, generator)
    progress("optimise", 0.5)
    given = assign(candidates, faces, identity, networks, config.variants)
    return Protected(
        tuple(g.images for g in given), 0, tuple(g.images for g in given), tuple(g.personas for g in given)
    )


def assign(
    candidates: list[Recomposed], faces: AlignedFaces, identity: Identity, networks: Networks, variants: int
) -> list[Recomposed]:
    """A recomposition a variant, in which no face is taken for its source or for another that was given."""
    read = embed(
        networks.surrogates, torch.cat([c.images for c in candidates]), faces.landmarks.repeat(len(candidates), 1, 1)
    )
    limit = faces.images.new_tensor([e.thresholds[1e-2] for e in networks.surrogates])
    to_source = (similarity(read, identity) / limit[:, None, None]).amax(0)
    between = torch.stack([v @ v.T for v in read.vectors.values()]) / limit[:, None, None]
    between = between.amax(0).unflatten(1, to_source.shape).unflatten(0, to_source.shape)
    taken: list[tuple[int, int]] = []
    for b in [b for b in range(len(faces)) for _ in range(variants)]:
        near = distance_taken(to_source[:, b], between[:, b], taken)
        near[[n for n, face in taken if face == b]] = torch.inf
        taken.append((int(near.argmin()), b))
    picked = [[n for n, face in taken if face == b] for b in range(len(faces))]
    return [gather(candidates[rows[v]].face(b) for b, rows in enumerate(picked)) for v in range(variants)]


def distance_taken(
    to_source: Float[Tensor, " n"], between: Float[Tensor, "n m b"], taken: list[tuple[int, int]]
) -> Float[Tensor, " n"]:
    """How near machines find each candidate to the source, or to any that is taken, in shares of their thresholds."""
    others = [between[:, n, face] for n, face in taken]
    return torch.stack([to_source, *others]).amax(0)
