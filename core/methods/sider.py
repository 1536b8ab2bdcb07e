"""SIDeR-style: a new look, the same identity to machines (Bao et al. 2026, arXiv:2602.04994).

People see a persona in the source's pose, light and context; recognition networks still read the source.
No formula, weight or code of the paper is public; the hyper-parameters are ours.

Notation: x source, p recomposed face (persona in context), z latent, u its change in pixel units, e_k identity by
encoder k, m_k aim, T random draw, V visual distance, R resurfacing of the source's drawing, S change of texture,
M mask, G blur, C takes most of the colour out of a change and gives its light that of p, l limit of a pixel's change,
d is 1 and falls for a search that takes long. At each step some encoders are asked, all in their turns: momentum
remembers what the others want.

    z = z_p + u / gain
    x(u) = p + M C(l tanh(G(Dec(z) - Dec(z_p)) / l))
    J(u) = sum_k w_k [m_k - cos(E_k(T(x(u))), e_k)]_+
           + d (lambda V(x(u), p) + sigma S(x(u), p) + rho R(x(u)) + nu mean u^2)

Of several personas that fit, one is taken that two long steps bring near the source for machines, because the less
there is to move, the less is seen, and that people find unlike it. The aims of a face rise until a referee, an encoder
that no gradient sees, reads the source as well: faces that carry over easily stay closer to the persona.

Deviates: the latent starts from a blended persona, not from a denoised one (ours still harms one: DESIGN.md),
and only the *change* of the decoded image is added to p, so that what the autoencoder cannot code stays sharp. The
change itself is blurred: strokes as fine as a lash are what one sees of it, and strangers hardly read them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from core import objectives
from core.looks import Age, Look, Presenting
from core.networks import Networks
from core.networks.parallel import spread
from core.networks.personas import plain
from core.promise import Promise
from core.stages.align import AlignedFaces, Stored
from core.stages.decouple import Appearance, Identity, cosines, decouple, embed_beside, similarity, thresholds
from core.stages.latents import Canvas, encode, limited, pixel_gain, tint_of
from core.stages.optimise import Descent, Jitter, Progress, Protected, Turns, blur, draw, optimise, part
from core.stages.recompose import (
    RECOGNISABLE,
    SPARE,
    Recomposed,
    by_fit,
    choose,
    distinct,
    fitting,
    gather,
    recompose,
)
from core.stages.regions import change_masks, rectangle

PROMISE = Promise(people_recognise=False, machines_match=True)
LOOK_AROUND = 12  # px, more than the windows in which structure is compared
NEAR = 0.2  # share of the way by which the last draw may be short of the aim for a look to be worth its time
CANDIDATES = 12  # personas tried for a face in all; trying one takes about as long as five steps
# How near machines find a candidate before any step tells little of what it will cost, after two long ones most of it.
PROBE = Descent(steps=2, step_size=0.00032, check_every=2)
PATIENCE = 50, 90  # steps between which a face that is not there yet is asked for less likeness to its persona


@dataclass(frozen=True, slots=True)
class Config:
    """margin: share of the way from each surrogate's threshold at FAR 1e-3 to 1 that is promised. aim: the share that
    the search stops at; a hard face may end between the two. slack: what the hinge asks for beyond the aim, because
    8-bit pixels and draws cost some. confirmation: share of that way that a referee must be on; until it is, a
    face's aim is raised by `lift` at each look, up to `ceiling`. draws: T a step. asked: surrogates a step. tau:
    cosine, sharpness of the encoders' weights. balance: lambda, the semantic-visual balancing factor. texture:
    sigma. softness: of G, sigma in px. limit: l, 1 is black to white. colour: share of a change's own colour that C
    leaves. resurfacing: rho. anchor: nu. ease: share of lambda, sigma, rho and nu that a hard face is spared in the
    end. candidates: personas tried for each variant, CANDIDATES in all. unlike: what a unit of likeness to the source
    counts against one, in shares of the way to 1. presentation and age: of the personas.
    """

    margin: float = 0.5
    aim: float = 0.87
    slack: float = 0.1
    confirmation: float = 0.8
    lift: float = 0.04
    ceiling: float = 0.93
    draws: int = 1
    asked: int = 2
    tau: float = 0.1
    balance: float = 0.2
    texture: float = 0.04
    softness: float = 1.6
    limit: float = 0.17
    colour: float = 0.3
    resurfacing: float = 1.0
    anchor: float = 10.0
    ease: float = 0.5
    candidates: int = 8
    unlike: float = 1.4
    presentation: Presenting = Presenting.keep
    age: Age = Age.keep
    variants: int = 1
    descent: Descent = field(default_factory=Descent)
    jitter: Jitter = field(default_factory=Jitter)

    @property
    def look(self) -> Look:
        return Look(self.presentation, self.age)


PRESETS = {
    "natural": Config(margin=0.3, aim=0.5, confirmation=0.5, ceiling=0.6, balance=0.3, texture=0.06),
    "standard": Config(),
    "strong": Config(
        margin=0.6, aim=0.91, confirmation=0.85, ceiling=0.95, balance=0.12, texture=0.03, descent=Descent(steps=160)
    ),
}


def protect(
    faces: AlignedFaces, networks: Networks, config: Config, generator: torch.Generator, progress: Progress
) -> Protected:
    """Protected faces of all variants; whether the promise holds is for the pipeline to measure."""
    identity, appearance = decouple(faces, networks)
    tried = max(config.variants, min(CANDIDATES, config.candidates * config.variants))
    fitted = [by_fit(*fitting(traits, networks.personas, config.look)) for traits in appearance.traits]
    candidates = [choose(some, tried, generator) for some in fitted]
    starts = recompose(faces, appearance, candidates, needed=config.variants, tried=tried)
    source = Source(faces, identity, appearance, networks, config)
    # Under the same draws for all of them.
    prospects = torch.stack(spread(lambda start: Search(source, start).prospect(generator.clone_state()), starts))
    starts = promising(starts, prospects, appearance.features, config)
    images, used = [], 0
    for v, start in enumerate(starts):
        image, steps = Search(source, start).run(generator, part(progress, v, len(starts)))
        images.append(image)
        used += steps
    return Protected(tuple(images), used, tuple(starts))


def promising(
    starts: list[Recomposed],
    prospects: Float[Tensor, "k b"],
    features: Float[Tensor, "b 1 256 256"],
    config: Config,
) -> list[Recomposed]:
    """A recomposition a variant: of each face those with the best prospects that people find least like the source.

    Those that people might take for the source, or for one already taken, come last, whatever machines say. No two
    faces of the photo get one persona while there are others.
    """
    images, alike = torch.stack([s.images for s in starts]), torch.stack([s.alike for s in starts])
    score = prospects - config.unlike * alike - 100 * (alike - RECOGNISABLE + SPARE).clamp_min(0)
    order = score.argsort(0, descending=True)
    picked: list[list[int]] = []
    for b in range(images.shape[1]):
        given = {plain(starts[k].personas[a]) for a, rows in enumerate(picked) for k in rows}
        ranked = order[:, b].tolist()
        twins = [k for k in ranked if plain(starts[k].personas[b]) in given]
        unlike = [k for k in ranked if k not in twins and alike[k, b] <= RECOGNISABLE - SPARE]
        if twins:
            ranked = unlike + [k for k in ranked if k not in unlike]
        picked.append(distinct(ranked, images[:, b], features[b : b + 1], config.variants))
    return [gather(starts[rows[v]].face(b) for b, rows in enumerate(picked)) for v in range(config.variants)]


class Source:
    """What all searches for the faces of a photo share.

    gain: of the autoencoder, at these faces. M: where they may change. region: the rectangle that is looked at;
    picture: the faces there. threshold: cosines at FAR 1e-3, (k, 1, 1).
    """

    def __init__(
        self, faces: AlignedFaces, identity: Identity, appearance: Appearance, networks: Networks, config: Config
    ) -> None:
        self.faces, self.identity, self.networks, self.config = faces, identity, networks, config
        self.mask = appearance.masks
        self.M = change_masks(faces.landmarks) * (1 - appearance.covered) * (1 - appearance.eyes)
        self.gain = pixel_gain(encode(faces.images, networks.autoencoder), networks.autoencoder)
        self.region = rectangle(self.mask, LOOK_AROUND)
        self.picture, self.stored = objectives.Picture(faces.images[self.region]), Stored(faces)
        self.threshold = thresholds(networks.surrogates, 1e-3)

    def read(self, images: Float[Tensor, "b 3 256 256"]) -> Float[Tensor, "k 1 b"]:
        """The surrogates' cosines of faces to their own."""
        return cosines(self.networks.surrogates, images, self.faces.landmarks, self.identity)

    def at(self, share: Tensor | float) -> Float[Tensor, "k 1 b"]:
        """The surrogates' cosines that are this share of the way from their thresholds to 1."""
        return self.threshold + share * (1 - self.threshold)

    def share(self, cosine: Float[Tensor, "k n b"]) -> Float[Tensor, "k n b"]:
        """How far on that way the surrogates' cosines are."""
        return (cosine - self.threshold) / (1 - self.threshold)


class Search:
    """The optimisation from one recomposition, batched over the faces of the photo.

    zero: where u starts. landmarks: where draws have them. aim: (B,), raised while a referee, which no gradient sees,
    is not convinced of a face. near: whether some face was near its aim in the last draw. turns: whom steps ask. step:
    how often the objective was asked.
    """

    def __init__(self, source: Source, start: Recomposed) -> None:
        self.source, self.networks, self.config = source, source.networks, source.config
        p, autoencoder = start.images, self.networks.autoencoder
        self.z_p = encode(p, autoencoder)
        self.canvas = Canvas(p, source.M, self.z_p, autoencoder)
        self.tint = tint_of(p[self.canvas.window])
        self.persona = objectives.Picture(p[source.region])
        self.drawn = objectives.structure_map(self.persona, source.picture)
        self.landmarks = source.faces.landmarks
        self.aim = p.new_full((len(p),), self.config.aim)
        self.zero = torch.zeros_like(self.z_p)
        self.near = torch.tensor(False)
        self.turns = Turns(len(self.networks.surrogates), self.config.asked)
        self.step = 0

    def run(
        self, generator: torch.Generator, report: Callable[[float], None]
    ) -> tuple[Float[Tensor, "b 3 256 256"], int]:
        """The faces where the search ended, and the steps it took."""
        # A persona's features are not quite where the source's were, and strangers look for them anew.
        self.landmarks = self.networks.detector.refine(self.canvas.images, self.landmarks)
        u, steps = optimise(
            self.zero, partial(self.objective, generator=generator), self.satisfied, self.config.descent, report
        )
        return self.render(u), steps

    def prospect(self, generator: torch.Generator) -> Float[Tensor, " b"]:
        """How near to the source surrogates are after the steps of PROBE: mean share of the way from their thresholds
        to 1."""
        u, _ = optimise(self.zero, partial(self.objective, generator=generator), self.satisfied, PROBE, lambda _: None)
        with torch.no_grad():
            return self.source.share(self.source.read(self.render(u))).mean((0, 1))

    def render(self, u: Float[Tensor, "b c u v"]) -> Float[Tensor, "b 3 256 256"]:
        """The faces of latents that are moved by `u`."""
        config, change = self.config, self.canvas.change(self.z_p + u / self.source.gain)
        return self.canvas.changed(limited(blur(change, config.softness), config.limit), config.colour, self.tint)

    def objective(self, u: Float[Tensor, "b c u v"], generator: torch.Generator) -> Float[Tensor, " b"]:
        """The objective under a fresh draw."""
        self.step += 1
        config, source = self.config, self.source
        face = self.render(u)
        seen, found = draw(face, self.landmarks, config.jitter, generator, config.draws)
        turn = self.turns.draw(generator)
        asked = [self.networks.surrogates[k] for k in turn]
        read, visible = embed_beside(asked, seen, found, self.visible, face)
        cosine = similarity(read, source.identity)
        self.near = (cosine >= source.at(config.aim - NEAR)[turn]).all(0).any()
        shortfall = objectives.margin_shortfall(cosine, source.at((self.aim + config.slack).clamp_max(1))[turn])
        w = objectives.ensemble_weights(shortfall, config.tau)
        moved = config.anchor * (u**2).mean((1, 2, 3))
        return self.strictness() * (visible + moved) + (w * shortfall).sum(0).mean(0)

    def visible(self, face: Float[Tensor, "b 3 256 256"]) -> Float[Tensor, " b"]:
        """What people see of the change, lambda V + sigma S + rho R."""
        config, source = self.config, self.source
        shown, mask = objectives.Picture(face[source.region]), source.mask[source.region]
        return (
            config.balance * objectives.visual_distance(shown, self.persona, mask)
            + config.texture * objectives.texture_change(shown, self.persona, mask)
            + config.resurfacing * objectives.resurfacing(shown, source.picture, self.drawn, mask)
        )

    def strictness(self) -> float:
        """What the visual terms count at this step, 1 at first: who is not there by then is hard, and to be recognised
        is what was promised."""
        first, last = PATIENCE
        return 1 - self.config.ease * min(1.0, max(0.0, (self.step - first) / (last - first)))

    def satisfied(self, u: Float[Tensor, "b c u v"]) -> Bool[Tensor, " b"]:
        """Whether the surrogates read the source in the stored pixels, and a referee agrees or is asked no longer."""
        config = self.config
        if not self.near:
            return torch.zeros_like(self.aim, dtype=torch.bool)
        seen = self.source.stored(self.render(u))
        cosine = self.source.read(seen)
        held, strained = ((cosine >= self.source.at(share)).all(0).all(0) for share in (config.aim, config.ceiling))
        if not held.any():  # nothing to ask a referee about yet
            return held
        agreed = self.confirmed(seen) | strained
        self.aim[held & ~agreed] += config.lift
        self.aim.clamp_(max=config.ceiling)
        return held & agreed

    def confirmed(self, seen: Float[Tensor, "b 3 256 256"]) -> Bool[Tensor, " b"]:
        """Whether every referee is convinced of each face; where there is none, nothing is asked."""
        agreed = torch.ones(len(seen), dtype=torch.bool, device=seen.device)
        for encoder in self.networks.referees:
            cosine = cosines((encoder,), seen, self.source.faces.landmarks, self.source.identity)[0, 0]
            agreed &= cosine >= encoder.at(self.config.confirmation)
        return agreed
