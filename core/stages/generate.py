"""Turn machines away from faces by a few looks of the generator, and no more visibly than it takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from core import objectives
from core.errors import RequestRefused
from core.networks import Encoder, Networks
from core.networks.generator import Generator, Look
from core.networks.parallel import spread
from core.stages.align import AlignedFaces, Stored
from core.stages.decouple import Identity, embed, similarity
from core.stages.latents import Canvas, encode, limited
from core.stages.optimise import Jitter, draw

LIMIT = 0.1  # how far a pixel may be moved, 1 is black to white: what is beyond it looks painted
COLOUR = 0.4  # share of a change's colour that is left
DRAWS = 2  # of every face, at every look
FLOOR = 0.7  # as the generator was trained
LESS = tuple(share / 32 for share in range(31, 7, -1))  # of a change that shows too much


@dataclass(frozen=True, slots=True)
class Subject:
    """B faces (B, 3, 256, 256) with landmarks (B, 5, 2), where they may change and how much their regions count, both
    (B, 1, 256, 256), and for whom they are not to be taken, each (B, d) by encoder. inside: (B, 1, 256, 256), by what
    people are to know them still, if they are. floor: share of the threshold at FAR 1e-2 below it, down to which
    encoders are turned away."""

    images: Tensor
    landmarks: Tensor
    masks: Tensor
    regions: Tensor
    avoided: tuple[Identity, ...]
    inside: Tensor | None = None
    floor: float = FLOOR


@dataclass(frozen=True, slots=True)
class Turning:
    """aim: share of the threshold at FAR 1e-2 by which surrogates must read less than that for a face to be taken.
    confirmation: the same for a referee, which the generator is not shown. looks: at most; those beyond the
    generator's own are like its last. floor: see Subject; 1 is a cosine of 0. weaker: shares of the change that are
    tried once a face is taken, in this order. kept: structural similarity to the source that stays inside, whatever
    machines say.
    """

    aim: float = 0.35
    confirmation: float = 0.2
    looks: int = 12
    floor: float = 1.0
    weaker: tuple[float, ...] = (0.5, 0.6, 0.7, 0.8, 0.9)
    kept: float = 0.0


@dataclass(frozen=True, slots=True)
class View:
    """Draws of all faces as one encoder is shown them: (n, 3, 256, 256) with landmarks (n, 5, 2)."""

    encoder: Encoder
    images: Tensor
    landmarks: Tensor


class Scene:
    """Faces under a secret, as the generator changes them look by look.

    encoders: those that it is shown. random: of the draws.
    """

    def __init__(
        self,
        subject: Subject,
        secret: Identity,
        generator: Generator,
        encoders: tuple[Encoder, ...],
        autoencoder: nn.Module,
        random: torch.Generator,
    ) -> None:
        self.subject, self.secret, self.generator, self.random = subject, secret, generator, random
        self.encoders = encoders
        with torch.no_grad():
            self.z = encode(subject.images, autoencoder)
            self.canvas = Canvas(subject.images, subject.masks, self.z, autoencoder)
            places = torch.cat((subject.masks, subject.regions), 1)
            self.places = F.adaptive_avg_pool2d(places, (self.z.shape[2], self.z.shape[3]))

    def change(self, u: Float[Tensor, "b c u v"]) -> Float[Tensor, "b 3 p q"]:
        """What moving the latents by `u` does to the decoded faces, in the canvas's window."""
        return self.canvas.change(self.z + u / self.generator.gain)

    def shown(self, change: Float[Tensor, "b 3 p q"]) -> Float[Tensor, "b 3 h w"]:
        """The faces with a change of which no value is beyond LIMIT; what is small stays as it is."""
        return self.canvas.changed(limited(change, LIMIT), COLOUR)

    def onward(self, u: Float[Tensor, "b c u v"], look: int) -> Float[Tensor, "b c u v"]:
        """`u` after another look. Differentiable to the generator's weights, not through what it is shown."""
        at = u.detach().requires_grad_(True)
        with torch.enable_grad():
            face = self.shown(self.change(at))
            (dear,) = torch.autograd.grad(visible(face, self.subject).sum(), at, retain_graph=True)
            drawn = [draw(face, self.subject.landmarks, Jitter(), self.random, DRAWS) for _ in self.encoders]
        views = [View(encoder, *own) for encoder, own in zip(self.encoders, drawn, strict=True)]
        wanted = torch.stack(spread(partial(self.gradient, at=at), views))
        # Each encoder by its own measure: none is to be heard because its gradients are long.
        wanted = wanted / wanted.square().mean((2, 3, 4), keepdim=True).sqrt().clamp_min(1e-12)
        z = self.z * self.generator.gain
        seen = Look(z, u, wanted.mean(0), wanted.std(0, correction=0), dear, self.places)
        step: Tensor = self.generator(seen, min(look, self.generator.looks - 1))
        return u + step

    def gradient(self, view: View, at: Tensor) -> Tensor:
        """Of what one encoder knows of the face, to the latents' change that it was drawn of."""
        with torch.enable_grad():
            read = known(view, self.subject, self.secret).sum()
        return torch.autograd.grad(read, at, retain_graph=True)[0]


@torch.no_grad()
def turn_away(
    subject: Subject,
    faces: AlignedFaces,
    networks: Networks,
    turning: Turning,
    towards: Identity,
    random: torch.Generator,
) -> tuple[Float[Tensor, "b 3 256 256"], int]:
    """The faces, changed until nobody recognises them, and no more than that; looks taken.

    towards: whom machines are to take each of them for. A face that nobody recognises stays as it is; one that still is
    recognised is as far away as all looks took it.

    Raises:
        RequestRefused: the bundle has no generator.
    """
    generator = networks.generator
    if generator is None:
        raise RequestRefused("the service's weights have no generator, which this method needs; take another method")
    pasted = Stored(faces)
    open_ = recognised(subject.images, subject, pasted, networks, turning) > 1
    if not open_.any():
        return subject.images, 0
    subject = replace(subject, floor=turning.floor)
    scene = Scene(subject, towards, generator, networks.surrogates, networks.autoencoder, random)
    u, look = torch.zeros_like(scene.z), 0
    while open_.any() and look < turning.looks:
        u = torch.where(open_[:, None, None, None], scene.onward(u, look), u)
        look += 1
        open_ = open_ & (recognised(scene.shown(scene.change(u)), subject, pasted, networks, turning) > 1)
    change = scene.change(u)
    found = weakest(scene, change, pasted, networks, turning)
    return unobtrusive(scene, change, found, pasted, turning.kept), look


def weakest(
    scene: Scene, change: Float[Tensor, "b 3 p q"], pasted: Stored, networks: Networks, turning: Turning
) -> Float[Tensor, "b 3 256 256"]:
    """Faces changed by the first share of the change with which nobody recognises them; by all of it, if none does."""
    subject, found = scene.subject, scene.shown(change)
    open_ = torch.ones(len(found), dtype=torch.bool, device=found.device)
    for share in turning.weaker:
        tried = scene.shown(share * change)
        held = open_ & (recognised(tried, subject, pasted, networks, turning) <= 1)
        found = torch.where(held[:, None, None, None], tried, found)
        open_ = open_ & ~held
    return found


def unobtrusive(
    scene: Scene,
    change: Float[Tensor, "b 3 p q"],
    found: Float[Tensor, "b 3 256 256"],
    pasted: Stored,
    kept: float,
) -> Float[Tensor, "b 3 256 256"]:
    """The faces found or, where too little structure is kept inside, changed by the largest share with which enough is:
    it may hide them from machines less than is aimed at, and still as well as is promised."""
    inside = scene.subject.inside
    if inside is None:
        return found
    for share in LESS:
        much = objectives.structure(pasted(found), pasted.images, inside) < kept
        if not much.any():
            break
        found = torch.where(much[:, None, None, None], scene.shown(share * change), found)
    return found


def known(view: View, subject: Subject, secret: Identity) -> Float[Tensor, " b"]:
    """How much an encoder still knows: cosines to the avoided above the floor, less the one to the secret; mean over
    the draws."""
    read = embed((view.encoder,), view.images, view.landmarks)
    floor = (1 - subject.floor) * view.encoder.thresholds[1e-2]
    excess = torch.stack([torch.relu(similarity(read, who) - floor) for who in subject.avoided]).sum(0)
    known: Tensor = (excess - similarity(read, secret)).mean((0, 1))
    return known


def visible(face: Float[Tensor, "b 3 h w"], subject: Subject) -> Float[Tensor, " b"]:
    """What an eye sees of the change."""
    shown, plain = objectives.Picture(face), objectives.Picture(subject.images)
    perceived = objectives.perceived_distance(shown, plain, subject.masks, subject.regions)
    return perceived + 0.3 * objectives.texture_change(shown, plain, subject.masks)


def recognised(
    images: Float[Tensor, "b 3 256 256"], subject: Subject, pasted: Stored, networks: Networks, turning: Turning
) -> Float[Tensor, " b"]:
    """The largest cosine that an encoder reads in the stored pixels, in shares of what it may read."""
    shares = {"surrogate": turning.aim, "referee": turning.confirmation}
    limits = [encoder.thresholds[1e-2] * (1 - shares[encoder.role]) for encoder in networks.encoders]
    read = embed(networks.encoders, pasted(images), subject.landmarks)
    cosine = torch.stack([similarity(read, who)[:, 0] for who in subject.avoided]).amax(0)
    largest: Tensor = (cosine / cosine.new_tensor(limits)[:, None]).amax(0)
    return largest
