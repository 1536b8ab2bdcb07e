"""SIDeR-style: a new look, the same identity to machines (Bao et al. 2026, arXiv:2602.04994).

People see a persona in the source's pose, light and context; recognition networks still read the source.
No formula, weight or code of the paper is public; the hyper-parameters are ours.

Notation: x source, p recomposed face (persona in context), z latent, u its change in pixel units, e_k identity by
encoder k, m_k aim, T random draw, V visual distance, R resurfacing of the source's drawing, S change of texture,
M mask, C takes most of the colour out of a change.

    z = z_p + u / gain
    x(u) = p + M C(Dec(z) - Dec(z_p))
    J(u) = sum_k w_k [m_k - cos(E_k(T(x(u))), e_k)]_+ + lambda V(x(u), p) + sigma S(x(u), p) + rho R(x(u)) + nu mean u^2

Of several personas that fit, one is taken that machines already find near the source, because the less there is to
move, the less is seen, and that people find unlike it. The aims of a face rise until a referee, an encoder that no
gradient sees, reads the source as well: faces that carry over easily stay closer to the persona.

Deviates: the latent starts from a blended persona, not from a denoised one (ours still harms one: DESIGN.md),
and only the *change* of the decoded image is added to p, so that what the autoencoder cannot code stays sharp.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from core import objectives
from core.methods import Promise
from core.networks import Networks
from core.stages.align import AlignedFaces, stored
from core.stages.decouple import Appearance, Identity, cosines, decouple, face_masks
from core.stages.optimise import Descent, Jitter, Progress, Protected, draw, optimise
from core.stages.recompose import RECOGNISABLE, SPARE, Recomposed, decode, encode, gather, pixel_gain, recompose

PROMISE = Promise(people_recognise=False, machines_match=True)
LOOK_AROUND = 12  # px, more than the windows in which structure is compared
CANDIDATES = 12  # personas tried for a face in all; composing one takes about as long as two steps
NETWORKS = ("detector", "autoencoder", "encoders", "personas")


@dataclass(frozen=True, slots=True)
class Config:
    """margin: share of the way from each surrogate's threshold at FAR 1e-3 to 1 that is promised. aim: the share that
    the search stops at; a hard face may end between the two. slack: what the hinge asks for beyond the aim, because
    8-bit pixels and draws cost some. confirmation: share of that way that a referee must be on; until it is, a face's
    aim is raised by `lift` at each look, up to `ceiling`. draws: T a step. tau: cosine, sharpness of the encoders'
    weights. balance: lambda, the semantic-visual balancing factor. texture: sigma. colour: share of a change's colour
    that C leaves. resurfacing: rho. anchor: nu. candidates: personas tried for each variant, CANDIDATES in all.
    unlike: what a unit of structural similarity to the source counts against one, in shares of the way to 1.
    """

    margin: float = 0.5
    aim: float = 0.76
    slack: float = 0.1
    confirmation: float = 0.7
    lift: float = 0.04
    ceiling: float = 0.85
    draws: int = 1
    tau: float = 0.1
    balance: float = 0.2
    texture: float = 0.2
    colour: float = 0.3
    resurfacing: float = 1.0
    anchor: float = 10.0
    candidates: int = 8
    unlike: float = 2.0
    variants: int = 1
    descent: Descent = field(default_factory=Descent)
    jitter: Jitter = field(default_factory=Jitter)


PRESETS = {
    "natural": Config(margin=0.3, aim=0.5, confirmation=0.5, ceiling=0.6, balance=0.3),
    "standard": Config(),
    "strong": Config(margin=0.6, aim=0.82, confirmation=0.8, ceiling=0.88, balance=0.12, descent=Descent(steps=130)),
}


def protect(
    faces: AlignedFaces, networks: Networks, config: Config, generator: torch.Generator, progress: Progress
) -> Protected:
    """Protected faces of all variants; whether the promise holds is for the pipeline to measure."""
    identity, appearance = decouple(faces, networks)
    tried = max(config.variants, min(CANDIDATES, config.candidates * config.variants))
    starts = recompose(faces, appearance, networks.personas, tried, generator)
    starts = nearest(starts, faces, identity, appearance.masks, networks, config)
    images, used = [], 0
    for v, start in enumerate(starts):
        search = Search(faces, identity, appearance, start, networks, config)
        image, steps = search.run(generator, partial(_report, progress, v, len(starts)))
        images.append(image)
        used += steps
    return Protected(tuple(images), tuple(s.images for s in starts), tuple(s.personas for s in starts), used)


@torch.no_grad()
def nearest(
    starts: list[Recomposed],
    faces: AlignedFaces,
    identity: Identity,
    masks: Float[Tensor, "b 1 256 256"],
    networks: Networks,
    config: Config,
) -> list[Recomposed]:
    """A recomposition a variant: of each face those that machines find most like the source and people least.

    Those that people might take for the source, or for one already taken, come last, whatever machines say.
    """
    images, alike = torch.stack([s.images for s in starts]), torch.stack([s.alike for s in starts])
    marks = faces.landmarks.repeat(len(starts), 1, 1)
    cosine = cosines(networks.surrogates, images.flatten(0, 1), marks, identity)
    threshold = cosine.new_tensor([e.thresholds[1e-3] for e in networks.surrogates])[:, None, None]
    share = ((cosine - threshold) / (1 - threshold)).mean(0)
    score = share - config.unlike * alike - 100 * (alike - RECOGNISABLE + SPARE).clamp_min(0)
    order = score.argsort(0, descending=True)
    picked = [
        distinct(order[:, b].tolist(), images[:, b], masks[b : b + 1], config.variants) for b in range(len(faces))
    ]
    return [gather(starts[rows[v]].face(b) for b, rows in enumerate(picked)) for v in range(config.variants)]


def distinct(
    order: list[int], images: Float[Tensor, "k 3 256 256"], mask: Float[Tensor, "1 1 256 256"], count: int
) -> list[int]:
    """The first `count` in this order whose looks are not taken for one another; where there are too few, any."""
    taken: list[int] = []
    others: list[int] = []
    for i in order:
        alike = (float(objectives.structure(images[i : i + 1], images[j : j + 1], mask)) for j in taken)
        (others if any(a > RECOGNISABLE for a in alike) else taken).append(i)
    return (taken + others)[:count]


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
        region = region_of(mask)
        M = face_masks(self.faces.landmarks, grow=0.12, feather=9.0) * (1 - self.appearance.fringe)
        drawn = objectives.structure_map(p[region], x[region])
        threshold = p.new_tensor([e.thresholds[1e-3] for e in encoders])[:, None, None]
        # Of each face; raised while the referee, which no gradient sees, is not convinced.
        aim = p.new_full((len(p),), config.aim)

        def at(share: Tensor | float) -> Tensor:
            return threshold + share * (1 - threshold)

        def render(u: Tensor) -> Tensor:
            change = decode(z_p + u / gain, self.networks.autoencoder) - decoded_p
            gray = objectives.luminance(change)
            return (p + M * (gray + config.colour * (change - gray))).clamp(0, 1)

        def objective(u: Tensor) -> Tensor:
            face = render(u)
            J = config.balance * objectives.visual_distance(face[region], p[region], mask[region])
            J = J + config.texture * objectives.texture_change(face[region], p[region], mask[region])
            J = J + config.resurfacing * objectives.resurfacing(face[region], x[region], drawn, mask[region])
            J = J + config.anchor * (u**2).mean((1, 2, 3))
            seen, landmarks = draw(face, self.faces.landmarks, config.jitter, generator, config.draws)
            shortfall = objectives.margin_shortfall(
                cosines(encoders, seen, landmarks, self.identity), at((aim + config.slack).clamp_max(1))
            )
            w = objectives.ensemble_weights(shortfall, config.tau)
            return J + (w * shortfall).sum(0).mean(0)

        def satisfied(u: Tensor) -> Tensor:
            seen = stored(self.faces, render(u))
            cosine = cosines(encoders, seen, self.faces.landmarks, self.identity)
            held, strained = ((cosine >= at(share)).all(0).all(0) for share in (config.aim, config.ceiling))
            if not held.any():  # nothing to ask a referee about yet
                return held
            agreed = self.confirmed(seen) | strained
            aim[held & ~agreed] += config.lift
            aim.clamp_(max=config.ceiling)
            return held & agreed

        u, steps = optimise(torch.zeros_like(z_p), objective, satisfied, config.descent, report)
        return render(u), steps

    def confirmed(self, seen: Float[Tensor, "b 3 256 256"]) -> Bool[Tensor, " b"]:
        """Whether every referee is convinced of each face; where there is none, nothing is asked."""
        agreed = torch.ones(len(seen), dtype=torch.bool, device=seen.device)
        for encoder in self.networks.referees:
            cosine = cosines((encoder,), seen, self.faces.landmarks, self.identity)[0, 0]
            agreed &= cosine >= encoder.at(self.config.confirmation)
        return agreed


def region_of(mask: Float[Tensor, "b 1 h w"]) -> tuple[slice, ...]:
    """The rectangle around all masks: looking only there saves half of the work and changes nothing."""
    rows, columns = (mask.amax((0, 1, d)).nonzero()[:, 0] for d in (3, 2))
    rectangle = (slice(max(0, int(i.min()) - LOOK_AROUND), int(i.max()) + LOOK_AROUND + 1) for i in (rows, columns))
    return (slice(None), slice(None), *rectangle)


def _report(progress: Progress, variant: int, variants: int, fraction: float) -> None:
    progress("optimise", (variant + fraction) / variants)
