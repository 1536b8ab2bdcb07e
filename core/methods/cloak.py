"""The cloak: the same face to people, somebody else to machines (Salar et al., CVPR 2025, arXiv:2503.10350).

Weakening diffusion purification: what is optimised is not the latent itself but one that the denoiser still has to
bring back, so that only what survives a denoiser is found; the maps of its self-attention are kept, because they hold
the structure of the face.

Notation: x source, z its latent, z_t the latent from which the last DDIM steps D lead back to z, u its change in pixel
units, e_k identity by encoder k, s_k what is a synthetic target's own in its identity, c_k cosine that is low enough, T
random draw, V visual distance, S change of texture, A change of attention, M mask, l limit of a pixel's change, C takes
most of the colour out of a change.

    x(u) = x + M C(l tanh((Dec(D(z_t + u / gain)) - Dec(D(z_t))) / l))
    J(u) = sum_k w_k ([cos(E_k(T(x(u))), e_k) - c_k]_+ - tau cos(E_k(T(x(u))), s_k))
           + d (lambda V(x(u), x) + sigma S(x(u), x)) + mu A(u) + nu mean u^2

The target is a persona, which is nobody: impersonation never takes a real person. It is a secret of each protection,
drawn from people like the person: another would give a man a woman's features. What they all have in common is left out
of s_k, so that cloaks of one person have no more in common than they must.

The allowed cosines of a face fall until a referee, an encoder that no gradient sees, reads somebody else as well. And
d, which is 1 at first, falls while machines still know the face: one that is hard to hide is changed by more of what
people accept. At each step some encoders are asked, all in their turns: momentum remembers what the others want.

Deviates: no preset goes through the denoiser (D is nothing, A is 0): ours, which is small, makes a face thrice as dear,
and what is found without it survives it (DESIGN.md); with a better one, `depth` asks for it. Momentum, draws and the
encoders' weights are as in `sider`; the timetable is consistent (the released code's is a step off); only the *change*
of the decoded image is added to x, so that what the autoencoder cannot code stays sharp.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from core import objectives
from core.errors import RequestRefused
from core.networks import Networks
from core.promise import Promise
from core.stages.align import AlignedFaces, Stored
from core.stages.decouple import Identity, cosines, decouple, embed_beside, similarity, thresholds
from core.stages.denoise import invert, learn_embeddings, regenerate, timesteps, watched
from core.stages.latents import Canvas, encode, limited, pixel_gain
from core.stages.optimise import Descent, Jitter, Progress, Protected, Turns, draw, optimise, part
from core.stages.regions import change_masks, region_weights
from core.stages.target import draw_fitting_targets

PROMISE = Promise(people_recognise=True, machines_match=False)
# Without a mean, which lags behind: here aims rise until the last encoder reads less.
STEPS = Descent(steps=120, step_size=0.00005, averaging=0.0, check_every=4)
EVERYBODY = 10**6  # personas of any bank
NEAR = 0.3  # of a threshold, by which the last draw may be short of the aim for a look to be worth its time


@dataclass(frozen=True, slots=True)
class Config:
    """margin: share of the threshold at FAR 1e-2 by which surrogates must read less than that. aim: the share that the
    search stops at, at first. confirmation: as margin, for a referee; until it holds, a face's aim is raised by `lift`
    at each look, up to `ceiling`. slack: what the hinge asks for beyond the aim. steps, depth: of so many DDIM steps
    the last ones are undone and done again; depth 0 leaves the denoiser out. iterations: for each learned embedding.
    pull: tau, towards the target; 0 only dodges. fitting: different personas that it is drawn from, those most like the
    person. draws: T a step. asked: surrogates a step. sharpness: of the encoders' weights, cosine. balance: lambda.
    texture: sigma. yielding: what is left of d at each look that does not find the face hidden. limit: l, 1 is black to
    white. attention: mu. colour: share of a change's colour that C leaves. anchor: nu.
    """

    margin: float = 0.2
    aim: float = 0.65
    confirmation: float = 0.5
    lift: float = 0.15
    ceiling: float = 1.4
    slack: float = 0.1
    steps: int = 10
    depth: int = 0
    iterations: int = 4
    pull: float = 1.0
    fitting: int = 10
    draws: int = 1
    asked: int = 2
    sharpness: float = 0.1
    balance: float = 0.55
    texture: float = 0.14
    yielding: float = 0.98
    limit: float = 0.12
    attention: float = 0.5
    colour: float = 0.5
    anchor: float = 10.0
    variants: int = 1
    descent: Descent = STEPS
    jitter: Jitter = field(default_factory=Jitter)


PRESETS = {
    "natural": Config(
        margin=0.0,
        aim=0.25,
        confirmation=0.15,
        ceiling=0.8,
        balance=0.45,
        pull=0.4,
        descent=replace(STEPS, steps=140),
    ),
    "standard": Config(),
    "strong": Config(
        margin=0.5,
        aim=0.9,
        confirmation=0.7,
        ceiling=1.6,
        balance=0.33,
        yielding=0.987,
        pull=1.2,
        fitting=EVERYBODY,
    ),
}


def protect(
    faces: AlignedFaces, networks: Networks, config: Config, generator: torch.Generator, progress: Progress
) -> Protected:
    """Protected faces of all variants; whether the promise holds is for the pipeline to measure."""
    identity, appearance = decouple(faces, networks)
    targets = draw_fitting_targets(appearance.traits, networks, config.fitting, config.variants, generator)
    images, used = [], 0
    for v, target in enumerate(targets):
        search = Search(faces, networks, config, identity, target.identity)
        u, steps = optimise(
            search.zero,
            partial(search.objective, generator=generator),
            search.satisfied,
            config.descent,
            part(progress, v, config.variants),
        )
        images.append(search.render(u))
        used += steps
    return Protected(tuple(images), used)


class Search:
    """One variant's optimisation, batched over the faces of the photo.

    identity: whom machines are to see no more. target: whom instead, t. zero: where u starts. aim: (B,), raised while a
    referee, which no gradient sees, still reads the source. dear: d, (B,). near: whether some face was near its aim in
    the last draw. turns: whom steps ask.
    """

    def __init__(
        self, faces: AlignedFaces, networks: Networks, config: Config, identity: Identity, target: Identity
    ) -> None:
        self.faces, self.networks, self.config, self.x = faces, networks, config, faces.images
        self.picture, self.stored = objectives.Picture(self.x), Stored(faces)
        self.M, self.regions = change_masks(faces.landmarks), region_weights(faces.landmarks)
        self.identity, self.target = identity, target
        self.z_t, self.times, self.tokens = self._inverted()
        with torch.no_grad():
            clean, self.attention = self._regenerated(self.z_t)
            self.canvas = Canvas(self.x, self.M, clean, networks.autoencoder)
        self.gain = pixel_gain(clean, networks.autoencoder)
        self.thresholds = thresholds(networks.surrogates, 1e-2)
        self.aim = self.x.new_full((len(self.x),), config.aim)
        self.dear = torch.ones_like(self.aim)
        self.zero = torch.zeros_like(self.z_t)
        self.near = torch.tensor(False)
        self.turns = Turns(len(networks.surrogates), config.asked)

    def render(self, u: Float[Tensor, "b c u v"]) -> Float[Tensor, "b 3 256 256"]:
        """The faces of latents that are moved by `u`."""
        return self._shown(self._regenerated(self.z_t + u / self.gain)[0])

    def objective(self, u: Float[Tensor, "b c u v"], generator: torch.Generator) -> Float[Tensor, " b"]:
        """The objective under a fresh draw."""
        config = self.config
        clean, attention = self._regenerated(self.z_t + u / self.gain)
        face = self._shown(clean)
        seen, found = draw(face, self.faces.landmarks, config.jitter, generator, config.draws)
        turn = self.turns.draw(generator)
        asked = [self.networks.surrogates[k] for k in turn]
        read, visible = embed_beside(asked, seen, found, self.visible, face)
        cosine, to_target = similarity(read, self.identity), similarity(read, self.target)
        self.near = (cosine <= self.at(config.aim - NEAR)[turn]).all(0).any()
        excess = objectives.margin_shortfall(-cosine, -self.at(self.aim + config.slack)[turn])
        w = objectives.ensemble_weights(excess, config.sharpness)
        away = (w * (excess - config.pull * to_target)).sum(0).mean(0)
        kept = config.anchor * (u**2).mean((1, 2, 3))
        if attention:  # there is none without the denoiser
            kept = kept + config.attention * objectives.attention_change(attention, self.attention, len(u))
        return visible + kept + away

    def visible(self, face: Float[Tensor, "b 3 256 256"]) -> Float[Tensor, " b"]:
        """What people see of the change, d (lambda V + sigma S)."""
        config, shown = self.config, objectives.Picture(face)
        perceived = objectives.perceived_distance(shown, self.picture, self.M, self.regions)
        texture = objectives.texture_change(shown, self.picture, self.M)
        return self.dear * (config.balance * perceived + config.texture * texture)

    def at(self, share: Tensor | float) -> Float[Tensor, "k 1 b"]:
        """The surrogates' cosines that are this share of their thresholds below them."""
        return self.thresholds * (1 - torch.as_tensor(share).expand(len(self.x)))

    def satisfied(self, u: Float[Tensor, "b c u v"]) -> Bool[Tensor, " b"]:
        """Whether machines read nobody they know; where they still do, people's eyes count less from now on."""
        hidden = self._hidden(u) if self.near else torch.zeros_like(self.aim, dtype=torch.bool)
        self.dear = torch.where(hidden, self.dear, self.dear * self.config.yielding)
        return hidden

    def _hidden(self, u: Float[Tensor, "b c u v"]) -> Bool[Tensor, " b"]:
        """Whether the surrogates read nobody they know in the stored pixels, and a referee agrees."""
        config = self.config
        seen = self.stored(self.render(u))
        cosine = cosines(self.networks.surrogates, seen, self.faces.landmarks, self.identity)
        held, strained = ((cosine <= self.at(share)).all(0).all(0) for share in (config.aim, config.ceiling))
        if not held.any():
            return held
        agreed = strained | self._confirmed(seen)
        self.aim[held & ~agreed] += config.lift
        self.aim.clamp_(max=config.ceiling)
        return held & agreed

    def _confirmed(self, seen: Float[Tensor, "b 3 256 256"]) -> Bool[Tensor, " b"]:
        """Whether no referee reads anybody it knows; where there is none, nothing is asked."""
        referees = self.networks.referees
        if not referees:
            return torch.ones(len(seen), dtype=torch.bool, device=seen.device)
        said = cosines(referees, seen, self.faces.landmarks, self.identity)
        return (said <= thresholds(referees, 1e-2) * (1 - self.config.confirmation)).all(0).all(0)

    def _shown(self, clean: Tensor) -> Tensor:
        return self.canvas.changed(limited(self.canvas.change(clean), self.config.limit), self.config.colour)

    def _inverted(self) -> tuple[Tensor, list[int], list[Tensor]]:
        """The latents at which the search begins, and how they are brought back."""
        config, denoiser = self.config, self.networks.denoiser
        z = encode(self.x, self.networks.autoencoder)
        if not config.depth:
            return z, [], []
        if denoiser is None:
            raise RequestRefused("the service's weights have no denoiser, which this preset needs; take another one")
        times = timesteps(denoiser, config.steps, config.depth)
        empty = denoiser.conditioner(None, None, len(z))
        path = invert(z, denoiser, times, empty)
        tokens = learn_embeddings(path, denoiser, times, empty, config.iterations)
        return path[0], times, tokens

    def _regenerated(self, z_t: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Clean latents, and the denoiser's self-attention on the way to them."""
        denoiser = self.networks.denoiser
        if not self.times or denoiser is None:
            return z_t, []
        if not self.config.attention:
            return regenerate(z_t, denoiser, self.times, self.tokens), []
        with watched(denoiser) as maps:
            return regenerate(z_t, denoiser, self.times, self.tokens), maps
