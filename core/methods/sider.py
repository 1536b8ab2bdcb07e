"""SIDeR-style: a new look, the same identity to machines (Bao et al. 2026, arXiv:2602.04994).

People see a persona in the source's pose, light and context; recognition networks still read the source.
No formula, weight or code of the paper is public; the hyper-parameters are ours.

Notation: x source, p recomposed face (persona in context), z latent, u its change in pixel units, e_k identity by
encoder k, m_k margin, T random draw, V visual distance, R resurfacing of the source's drawing.

    z = z_p + u / gain
    x(u) = p + M (Dec(z) - Dec(z_p))
    J(u) = sum_k w_k [m_k - cos(E_k(T(x(u))), e_k)]_+ + lambda V(x(u), p) + rho R(x(u)) + nu mean u^2

Deviates: the latent starts from a blended persona, not from a denoised one (the denoiser is not trained yet),
and only the *change* of the decoded image is added to p, so that what the autoencoder cannot code stays sharp.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from core import objectives
from core.methods import Promise
from core.networks import Networks
from core.stages.align import AlignedFaces, stored
from core.stages.decouple import Appearance, Identity, cosines, decouple, face_masks
from core.stages.optimise import Descent, Jitter, Progress, Protected, draw, optimise
from core.stages.recompose import Recomposed, decode, encode, pixel_gain, recompose

PROMISE = Promise(people_recognise=False, machines_match=True)
NETWORKS = ("detector", "autoencoder", "encoders", "personas")


@dataclass(frozen=True, slots=True)
class Config:
    """margin: share of the way from each encoder's threshold at FAR 1e-3 to 1 that must be held. slack: what the
    hinge aims for beyond the margin, because 8-bit pixels and draws cost some. draws: T a step. tau: cosine,
    sharpness of the encoders' weights. balance: lambda, the semantic-visual balancing factor. resurfacing: rho.
    anchor: nu.
    """

    margin: float = 0.5
    slack: float = 0.1
    draws: int = 2
    tau: float = 0.1
    balance: float = 0.25
    resurfacing: float = 1.0
    anchor: float = 10.0
    variants: int = 1
    descent: Descent = field(default_factory=Descent)
    jitter: Jitter = field(default_factory=Jitter)


PRESETS = {
    "natural": Config(margin=0.3, balance=0.5),
    "standard": Config(),
    "strong": Config(margin=0.7, balance=0.12, descent=Descent(steps=140)),
}


def protect(
    faces: AlignedFaces, networks: Networks, config: Config, generator: torch.Generator, progress: Progress
) -> Protected:
    """Protected faces of all variants; whether the promise holds is for the pipeline to measure."""
    identity, appearance = decouple(faces, networks)
    starts = recompose(faces, appearance, networks.personas, config.variants, generator)
    images, used = [], 0
    for v, start in enumerate(starts):
        search = Search(faces, identity, appearance, start, networks, config)
        image, steps = search.run(generator, partial(_report, progress, v, len(starts)))
        images.append(image)
        used += steps
    return Protected(tuple(images), tuple(s.images for s in starts), tuple(s.personas for s in starts), used)


@dataclass(frozen=True, slots=True)
class Search:
    """One variant's optimisation, batched over the faces of the photo."""

    faces: AlignedFaces
    identity: Identity
    appearance: Appearance
    start: Recomposed
    networks: Networks
    config: Config

    def run(
        self, generator: torch.Generator, report: Callable[[float], None]
    ) -> tuple[Float[Tensor, "b 3 256 256"], int]:
        config, encoders = self.config, self.networks.surrogates
        x, p, mask = self.faces.images, self.start.images, self.appearance.masks
        z_p = encode(p, self.networks.autoencoder)
        decoded_p = decode(z_p, self.networks.autoencoder)
        gain = pixel_gain(z_p, self.networks.autoencoder)
        M = face_masks(self.faces.landmarks, grow=0.12, feather=9.0)
        required = p.new_tensor([e.required(config.margin) for e in encoders])[:, None]
        aim = p.new_tensor([e.required(config.margin + config.slack) for e in encoders])[:, None]

        def render(u: Tensor) -> Tensor:
            return (p + M * (decode(z_p + u / gain, self.networks.autoencoder) - decoded_p)).clamp(0, 1)

        def objective(u: Tensor) -> Tensor:
            face = render(u)
            J = config.balance * objectives.visual_distance(face, p, mask)
            J = J + config.resurfacing * objectives.resurfacing(face, p, x, mask)
            J = J + config.anchor * (u**2).mean((1, 2, 3))
            for _ in range(config.draws):
                cosine = cosines(encoders, *draw(face, self.faces.landmarks, config.jitter, generator), self.identity)
                shortfall = objectives.margin_shortfall(cosine, aim)
                w = objectives.ensemble_weights(shortfall, config.tau)
                J = J + (w * shortfall).sum(0) / config.draws
            return J

        def satisfied(u: Tensor) -> Tensor:
            seen = stored(self.faces, render(u))
            held = cosines(encoders, seen, self.faces.landmarks, self.identity) >= required
            return held.all(0)

        u, steps = optimise(torch.zeros_like(z_p), objective, satisfied, config.descent, report)
        return render(u), steps


def _report(progress: Progress, variant: int, variants: int, fraction: float) -> None:
    progress("optimise", (variant + fraction) / variants)
