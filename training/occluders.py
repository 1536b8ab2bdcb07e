"""What hides parts of faces, drawn: locks of hair, hands, glasses, cloth and cups, and where a turned head ends.

Each is a layer (SIDE, SIDE, 4): RGB in [0, 1] and how much it covers, 0..1. They need not be true to life, only as
varied as what is (hands: Nirkin et al. 2018, arXiv:1704.06729; shapes of any texture: Voo et al. 2022,
arXiv:2205.06218).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter, map_coordinates

SIDE = 128
FINE = 2  # drawn so many times as large, for smooth edges
Random = np.random.Generator
Array = NDArray[np.floating[Any]]
Layer = Array  # (SIDE, SIDE, 4)
FRAMES = ((0.05, 0.04, 0.04), (0.3, 0.18, 0.1), (0.6, 0.5, 0.3), (0.6, 0.6, 0.62))  # black, brown, gold, steel


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours of one portrait (3,), and a picture of another (SIDE, SIDE, 3) to take stuff from."""

    skin: Array
    hair: Array
    stuff: Array


@dataclass(frozen=True, slots=True)
class Face:
    """Where it is. eyes, mouth: their middles, px; across, down: unit vectors; span: between the eyes, px."""

    left: Array
    right: Array
    eyes: Array
    mouth: Array
    across: Array
    down: Array
    span: float

    @classmethod
    def of(cls, marks: Array) -> Face:
        """By its five landmarks, px of SIDE."""
        left, right = marks[0], marks[1]
        span = float(np.linalg.norm(right - left))
        across = (right - left) / span
        down = np.array([-across[1], across[0]])
        return cls(left, right, (left + right) / 2, marks[3:].mean(0), across, down, span)

    @property
    def middle(self) -> Array:
        return (self.eyes + self.mouth) / 2


class Drawing:
    """Colours and cover, drawn at once."""

    def __init__(self, ground: Array) -> None:
        size = (SIDE * FINE, SIDE * FINE)
        self.pictures = Image.new("RGB", size, _eight_bits(ground)), Image.new("RGB", size)

    def line(self, points: Array, colour: Array, width: int) -> None:
        """width: px of the enlarged picture."""
        for picture, ink in zip(self.pictures, (colour, np.ones(3)), strict=True):
            path = [tuple(p * FINE) for p in points]
            ImageDraw.Draw(picture).line(path, fill=_eight_bits(ink), width=width, joint="curve")

    def area(self, points: Array, colour: Array) -> None:
        for picture, ink in zip(self.pictures, (colour, np.ones(3)), strict=True):
            ImageDraw.Draw(picture).polygon([tuple(p * FINE) for p in points], fill=_eight_bits(ink))

    def layer(self, soft: float, colours: Array | None = None) -> Layer:
        """With an edge of so many px; in these colours (SIDE, SIDE, 3) instead of those drawn."""
        drawn, cover = (p.resize((SIDE, SIDE), Image.Resampling.BOX) for p in self.pictures)
        alpha = gaussian_filter(np.asarray(cover, np.float32)[..., 0] / 255, soft)
        return np.dstack((np.asarray(drawn, np.float32) / 255 if colours is None else colours, alpha))


def locks(rng: Random, face: Face, palette: Palette) -> Layer:
    """Some strands to a whole curtain, from above or from the side."""
    side, span = rng.choice((-1, 1)), face.span
    start = face.eyes + span * np.array([side * rng.uniform(-0.3, 1.3), rng.uniform(-1.8, -0.9)])
    end = face.eyes + span * np.array([side * rng.uniform(0.1, 1.4), rng.uniform(-0.4, 2.4)])
    bend = (start + end) / 2 + span * np.array([side * rng.uniform(-0.4, 0.7), rng.uniform(-0.6, 0.3)])
    spread = rng.choice((0.02, 0.08, 0.2, 0.4)) * rng.uniform(0.6, 1.4)
    colour = _near(rng, palette.hair if rng.random() < 0.6 else rng.uniform(0, 1) ** 1.5 * _warm(rng), 0.1)
    drawing = Drawing(colour)
    t, taper, stray = np.linspace(0, 1, 24)[:, None], rng.uniform(0.2, 1.2), rng.uniform(0.05, 0.4)
    wave = rng.uniform(0, 0.06) * span * np.sin(2 * np.pi * (rng.uniform(1, 3) * t + rng.random()))
    for _ in range(int(rng.integers(2, 5) + spread * rng.uniform(60, 400))):
        off = rng.normal(0, spread * span, 2)
        a, b, c = (
            p + off * share + rng.normal(0, stray * spread * span, 2)
            for p, share in ((start, 1), (bend, 1), (end, taper))
        )
        curve = (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c + wave * (1, 0)
        width = int(rng.integers(1, 4) if spread < 0.15 else rng.integers(2, 6))
        drawing.line(curve, colour * np.exp(rng.normal(0, 0.22)), width)
    return drawing.layer(rng.uniform(0.3, 0.9))


def hand(rng: Random, face: Face, palette: Palette) -> Layer:
    """One to four fingers, at times with the back of a hand before them."""
    heading, span = rng.uniform(-np.pi, np.pi), face.span
    along = np.array([np.cos(heading), np.sin(heading)])
    aside = np.array([-along[1], along[0]])
    tip = face.middle + span * rng.uniform(0.0, 0.9) * along
    skin = _near(rng, palette.skin * np.exp(rng.normal(0, 0.18)), 0.03)
    width, length, light = span * rng.uniform(0.22, 0.42), span * rng.uniform(1.0, 2.6), rng.normal(0, 1, 2)
    out = _nothing()
    for i in range(int(rng.integers(1, 5))):
        end = tip + aside * i * width * rng.uniform(0.85, 1.1) + along * span * rng.normal(0, 0.15)
        u, v = _seen_from(end, along + aside * rng.normal(0, 0.08))
        off = np.hypot(v, np.minimum(u, 0)) / (width / 2)
        cover = np.clip((1 - off) * width / 2 + 0.5, 0, 1) * (u < length)
        shade = 0.55 + 0.45 * _bulge(off) + 0.12 * (light[0] * v / width + light[1] * 0.3)
        for knuckle in rng.uniform(0.2, 1.2, 2):
            shade = shade * (1 - 0.15 * np.exp(-np.square((u - knuckle * span) / 1.2)))
        nail = np.square((u - 0.1 * width) / (0.3 * width)) + np.square(v / (0.22 * width))
        shine = 0.12 * rng.uniform(0, 1) * np.exp(-np.square(nail))
        out = over(out, np.dstack((np.clip(skin * shade[..., None] + shine[..., None], 0, 1), cover)))
    if rng.random() < 0.5:
        u, v = _seen_from(tip + along * length + aside * 1.5 * width, along)
        off = np.hypot(u / (1.2 * span), v / (0.9 * span))
        back = np.clip(skin * (0.7 + 0.4 * _bulge(off))[..., None], 0, 1)
        out = over(out, np.dstack((back, np.clip((1 - off) * 20, 0, 1))))
    out[..., :3] *= 1 + 0.04 * rng.standard_normal((SIDE, SIDE, 1))
    return out.clip(0, 1)


def glasses(rng: Random, face: Face, _palette: Palette) -> Layer:
    """Rims with bridge and temples, or dark lenses."""
    colour = _near(rng, np.array(rng.choice(FRAMES)), 0.06)
    a, b = face.span * rng.uniform(0.33, 0.55), face.span * rng.uniform(0.24, 0.48)
    width, drop = int(rng.choice((1, 2, 3, 4, 6, 8, 10))), face.span * rng.uniform(-0.05, 0.14)
    apart = face.span * rng.uniform(-0.01, 0.05)
    kind = rng.choice(("rims", "dark", "half rims"), p=(0.6, 0.25, 0.15))
    angle = np.linspace(np.pi if kind == "half rims" else 0, 2 * np.pi, 48)
    ring = np.stack((np.cos(angle), np.sin(angle)))
    x, y = np.sign(ring) * np.abs(ring) ** (2 / rng.uniform(2, 6))  # from ellipses to rectangles
    drawing, inner = Drawing(colour), []
    for eye, outward in ((face.left, -face.across), (face.right, face.across)):
        centre = eye + outward * apart + face.down * drop
        outline = centre + x[:, None] * a * face.across + y[:, None] * b * face.down
        if kind == "dark":
            drawing.area(outline, colour * 0.5)
        drawing.line(outline, colour, width)
        hinge = centre + outward * a - face.down * b * 0.4
        drawing.line(np.stack((hinge, hinge + outward * face.span * 0.7)), colour, width)
        inner.append(centre - outward * a - face.down * b * 0.3)
    bridge = (inner[0] + inner[1]) / 2 - face.down * b * rng.uniform(0, 0.3)
    drawing.line(np.stack((inner[0], bridge, inner[1])), colour, width)
    return drawing.layer(0.3)


def thing(rng: Random, face: Face, palette: Palette) -> Layer:
    """A smooth blob of any stuff, from any side: a cup, a scarf, a brim, a microphone."""
    heading, size = rng.uniform(0, 2 * np.pi), face.span * rng.uniform(0.2, 0.9)
    away = face.span * rng.uniform(0.3, 1.2) + 0.5 * size
    centre = face.middle + away * np.array([np.cos(heading), np.sin(heading)])
    angle = np.linspace(0, 2 * np.pi, 40)
    bumps = [rng.normal(0, 0.35 / k) * np.cos(k * angle + rng.uniform(0, 6)) for k in (1, 2, 3)]
    radius = size * np.exp(np.sum(bumps, 0))
    drawing = Drawing(palette.skin)
    drawing.area(centre + radius[:, None] * np.stack((np.cos(angle), np.sin(angle)), 1), palette.skin)
    return drawing.layer(rng.uniform(0.2, 1.2), stuff(rng, palette))


def background(rng: Random, face: Face, palette: Palette) -> Layer:
    """What lies behind a head that is turned: the far cheek ends early."""
    side, below = rng.choice((-1, 1)), np.linspace(-1.6, 2.2, 40)
    brow, cheek, chin = rng.uniform(0.66, 0.95), rng.uniform(0.62, 0.95), rng.uniform(0.1, 0.7)
    outline = (brow, brow, brow - 0.06, cheek, cheek - 0.12, chin, -1)
    half = gaussian_filter(np.interp(below, (-1.6, -0.35, 0.0, 0.45, 1.1, 1.6, 2.2), outline), 2.0)
    edge = face.eyes + below[:, None] * (face.mouth - face.eyes) + side * half[:, None] * (face.right - face.left)
    far = np.array([side * 3 * SIDE, 0])
    drawing = Drawing(palette.skin)
    drawing.area(np.stack((edge[0] + far, *edge, edge[-1] + far)), palette.skin)
    return drawing.layer(rng.uniform(0.3, 1.0), stuff(rng, palette))


def stuff(rng: Random, palette: Palette) -> Array:
    """A part of another portrait, or one colour and its shade (SIDE, SIDE, 3)."""
    if rng.random() < 0.5:
        where = np.mgrid[:SIDE, :SIDE] * rng.uniform(0.3, 1.5) + rng.uniform(0, SIDE, (2, 1, 1))
        layers = [map_coordinates(palette.stuff[..., c], where, order=1, mode="reflect") for c in range(3)]
        return np.asarray(np.clip(np.stack(layers, -1), 0, 1))
    ramp = (np.mgrid[:SIDE, :SIDE] / SIDE - 0.5) * rng.normal(0, 0.4, (2, 1, 1))
    grain = 1 + 0.1 * gaussian_filter(rng.standard_normal((SIDE, SIDE)), rng.uniform(0.5, 2))
    return np.asarray(np.clip((rng.uniform(0, 1, 3) + ramp.sum(0)[..., None]) * grain[..., None], 0, 1))


Kind = Callable[[Random, Face, Palette], Layer]
KINDS: Sequence[tuple[Kind, float]] = (
    (locks, 0.4), (hand, 0.2), (glasses, 0.15), (thing, 0.1), (background, 0.15),
)  # fmt: skip


def draw(rng: Random, marks: Array, palette: Palette) -> Layer:
    """None to three things; marks: the face's landmarks (5, 2), px of SIDE."""
    out, face = _nothing(), Face.of(marks)
    kinds, shares = zip(*KINDS, strict=True)
    for k in rng.choice(len(kinds), int(rng.choice((0, 1, 2, 3), p=(0.15, 0.45, 0.25, 0.15))), p=shares):
        out = over(out, kinds[k](rng, face, palette))
    return out


def made_up(rng: Random, image: Array, marks: Array) -> Array:
    """The face (SIDE, SIDE, 3) with dark eyes, darker brows, red lips or a beard: what does not hide it."""
    face = Face.of(marks)
    y, x = np.mgrid[:SIDE, :SIDE]

    def spot(centre: Array, wide: float, high: float) -> Array:
        off = np.square((x - centre[0]) / (wide * face.span)) + np.square((y - centre[1]) / (high * face.span))
        return np.asarray(np.exp(-off))

    def both(lift: float, wide: float, high: float) -> Array:
        return np.maximum(*(spot(eye - face.down * lift * face.span, wide, high) for eye in (face.left, face.right)))

    shades = []
    if rng.random() < 0.5:
        shades.append(both(rng.uniform(-0.02, 0.12), rng.uniform(0.2, 0.42), rng.uniform(0.08, 0.3)))
    if rng.random() < 0.3:
        shades.append(both(0.38, 0.3, rng.uniform(0.05, 0.1)))
    if rng.random() < 0.3:
        shades.append(spot(face.mouth, 0.5, 0.2))
    if rng.random() < 0.4:
        line = face.eyes[1] + rng.uniform(1.0, 1.4) * (face.mouth - face.eyes)[1]
        beard = np.maximum((y - line) / (0.2 * face.span), spot(face.mouth, rng.uniform(0.5, 1.2), rng.uniform(0.4, 1)))
        grain = 1 + 0.5 * gaussian_filter(rng.standard_normal((SIDE, SIDE)), rng.uniform(0.3, 1))
        shades.append(np.clip(np.clip(beard, 0, 1) * grain, 0, 1))
    for shade in shades:
        ink = rng.uniform(0, 0.5) * rng.uniform(0.3, 1, 3)
        image = image + (shade * rng.uniform(0.2, 0.95))[..., None] * image * (ink - 1)
    return np.clip(image, 0, 1)


def over(below: Layer, above: Layer) -> Layer:
    """One layer on another."""
    a, b = above[..., 3:], below[..., 3:] * (1 - above[..., 3:])
    both = a + b
    rgb = (above[..., :3] * a + below[..., :3] * b) / np.maximum(both, 1e-6)
    return np.concatenate((rgb, both), -1)


def _nothing() -> Layer:
    return np.zeros((SIDE, SIDE, 4))


def _seen_from(origin: Array, along: Array) -> tuple[Array, Array]:
    """How far each pixel is along a direction from there, and aside of it, px."""
    y, x = np.mgrid[:SIDE, :SIDE]
    x, y = x - origin[0], y - origin[1]
    return x * along[0] + y * along[1], y * along[0] - x * along[1]


def _bulge(off: Array) -> Array:
    """How much what is round faces the viewer: 1 in its middle, 0 from its edge on."""
    return np.asarray(np.sqrt(np.clip(1 - np.square(off), 0, 1)))


def _near(rng: Random, colour: Array, off: float) -> Array:
    return np.clip(colour + rng.normal(0, off, 3) + rng.normal(0, off / 3), 0.01, 1)


def _warm(rng: Random) -> Array:
    """A colour that hair may have, at full light."""
    return np.array([1.0, rng.uniform(0.65, 0.95), rng.uniform(0.35, 0.9)])


def _eight_bits(colour: Array) -> tuple[int, ...]:
    return tuple(int(255 * v) for v in np.clip(colour, 0, 1))
