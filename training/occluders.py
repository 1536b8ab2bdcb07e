"""What hides parts of faces, drawn: locks of hair, hands, glasses, cloth and cups, and where a turned head ends.

Each is a layer (H, W, 4) of a picture of SIDE px: RGB in [0, 1] and how much it covers, 0..1. They need not be true to
life, only as varied as what is (Nirkin et al. 2018, arXiv:1704.06729, learn hands from such collages).
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
Array = NDArray[np.floating[Any]]
Layer = Array  # (SIDE, SIDE, 4)


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours of one portrait (3,), and pictures of others (SIDE, SIDE, 3) to take stuff from."""

    skin: Array
    hair: Array
    stuff: Array


def locks(rng: np.random.Generator, marks: Array, palette: Palette) -> Layer:
    """Some strands to a whole curtain, from above or from the side."""
    eyes, span = marks[:2].mean(0), float(np.linalg.norm(marks[1] - marks[0]))
    side = rng.choice((-1, 1))
    start = eyes + span * np.array([side * rng.uniform(-0.3, 1.3), rng.uniform(-1.8, -0.9)])
    end = eyes + span * np.array([side * rng.uniform(0.1, 1.4), rng.uniform(-0.4, 2.4)])
    bend = (start + end) / 2 + span * np.array([side * rng.uniform(-0.4, 0.7), rng.uniform(-0.6, 0.3)])
    spread = span * rng.choice((0.02, 0.08, 0.2, 0.4)) * rng.uniform(0.6, 1.4)
    colour = _near(rng, palette.hair if rng.random() < 0.6 else rng.uniform(0, 1) ** 1.5 * _warm(rng), 0.1)
    count = int(rng.integers(2, 5) + spread / span * rng.uniform(60, 400))
    canvas, cover = _canvas(colour), _canvas(np.zeros(3))
    t, taper, stray = np.linspace(0, 1, 24)[:, None], rng.uniform(0.2, 1.2), rng.uniform(0.05, 0.4)
    wave = rng.uniform(0, 0.06) * span * np.sin(2 * np.pi * (rng.uniform(1, 3) * t + rng.random()))
    for _ in range(count):
        off = rng.normal(0, spread, 2)
        a, b, c = (p + off * w + rng.normal(0, stray * spread, 2) for p, w in ((start, 1), (bend, 1), (end, taper)))
        curve = (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c + wave * (1, 0)
        shine = np.clip(colour * np.exp(rng.normal(0, 0.22)), 0, 1)
        width = int(rng.integers(1, 4)) if spread < 0.15 * span else int(rng.integers(2, 6))
        _line(canvas, curve, shine, width)
        _line(cover, curve, np.ones(3), width)
    return _layer(canvas, cover, rng.uniform(0.3, 0.9))


def hand(rng: np.random.Generator, marks: Array, palette: Palette) -> Layer:
    """One to four fingers, at times with the back of a hand behind them."""
    span = float(np.linalg.norm(marks[1] - marks[0]))
    middle = (marks[:2].mean(0) + marks[3:].mean(0)) / 2
    heading = rng.uniform(-np.pi, np.pi)
    along = np.array([np.cos(heading), np.sin(heading)])
    tip = middle + span * rng.uniform(0.0, 0.9) * np.array([np.cos(heading), np.sin(heading)])
    skin = _near(rng, palette.skin * np.exp(rng.normal(0, 0.18)), 0.03)
    width, length = span * rng.uniform(0.22, 0.42), span * rng.uniform(1.0, 2.6)
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    out = np.zeros((SIDE, SIDE, 4), np.float32)
    side = np.array([-along[1], along[0]])
    light = rng.normal(0, 1, 2)
    for i in range(int(rng.integers(1, 5))):
        heads = tip + side * i * width * rng.uniform(0.85, 1.1) + along * span * rng.normal(0, 0.15)
        lean = along + side * rng.normal(0, 0.08)
        u = (x - heads[0]) * lean[0] + (y - heads[1]) * lean[1]
        v = (x - heads[0]) * -lean[1] + (y - heads[1]) * lean[0]
        off = np.hypot(v, np.minimum(u, 0)) / (width / 2)
        cover = np.clip((1 - off) * width / 2 + 0.5, 0, 1) * (u < length)
        round_ = np.sqrt(np.clip(1 - off**2, 0, 1))
        shade = 0.55 + 0.45 * round_ + 0.12 * (light[0] * v / width + light[1] * 0.3)
        wrinkles = 1 - 0.15 * sum(np.exp(-(((u - k * span) / 1.2) ** 2)) for k in rng.uniform(0.2, 1.2, 2))
        nail = 0.12 * np.exp(-((((u - 0.1 * width) / (0.3 * width)) ** 2 + (v / (0.22 * width)) ** 2) ** 2))
        rgb = skin * (shade * wrinkles)[..., None] + nail[..., None] * rng.uniform(0, 1)
        out = over(out, np.dstack((np.clip(rgb, 0, 1), cover)).astype(np.float32))
    if rng.random() < 0.5:
        back = tip + along * length + side * 1.5 * width
        u, v = (x - back[0]) * along[0] + (y - back[1]) * along[1], (x - back[0]) * side[0] + (y - back[1]) * side[1]
        off = np.hypot(u / (1.2 * span), v / (0.9 * span))
        cover = np.clip((1 - off) * 20, 0, 1)
        rgb = np.clip(skin * (0.7 + 0.4 * np.sqrt(np.clip(1 - off**2, 0, 1)))[..., None], 0, 1)
        out = over(np.dstack((rgb, cover)).astype(np.float32), out)
    out[..., :3] *= 1 + 0.04 * rng.standard_normal((SIDE, SIDE, 1)).astype(np.float32)
    return out.clip(0, 1)


def glasses(rng: np.random.Generator, marks: Array, _palette: Palette) -> Layer:
    """Rims with bridge and temples, or dark lenses."""
    left, right = marks[:2].astype(np.float64)
    span = float(np.linalg.norm(right - left))
    colour = _near(rng, rng.choice(([0.05, 0.04, 0.04], [0.3, 0.18, 0.1], [0.6, 0.5, 0.3], [0.6, 0.6, 0.62])), 0.06)
    a, b = span * rng.uniform(0.33, 0.55), span * rng.uniform(0.24, 0.48)
    power, width = rng.uniform(2, 6), int(rng.choice((1, 2, 3, 4, 6, 8, 10)))
    drop = span * rng.uniform(-0.05, 0.14)
    angle = np.linspace(0, 2 * np.pi, 48)
    across, down = (right - left) / span, np.array([-(right - left)[1], (right - left)[0]]) / span
    canvas, cover = _canvas(colour), _canvas(np.zeros(3))
    dark = rng.random() < 0.25
    half = rng.random() < 0.2 and not dark
    for eye, outward in ((left, -1), (right, 1)):
        ring = np.stack((np.cos(angle), np.sin(angle)))
        ring = np.sign(ring) * np.abs(ring) ** (2 / power)
        centre = eye + across * outward * span * rng.uniform(-0.01, 0.05) + down * drop
        outline = centre + ring[0][:, None] * a * across + ring[1][:, None] * b * down
        if half:
            outline = outline[24:]  # the upper half
        if dark:
            tint = [tuple(int(255 * v) for v in c) for c in (np.clip(colour * 0.5, 0, 1), np.ones(3))]
            for picture, fill in ((canvas, tint[0]), (cover, tint[1])):
                ImageDraw.Draw(picture).polygon([tuple(p * FINE) for p in outline], fill=fill)
        for picture, ink in ((canvas, colour), (cover, np.ones(3))):
            _line(picture, outline, ink, width)
            hinge = centre + across * outward * a - down * b * 0.4
            _line(picture, np.stack((hinge, hinge + across * outward * span * 0.7)), ink, width)
    inner = [e + across * o * (span * 0.02 - a) + down * (drop - b * 0.3) for e, o in ((left, -1), (right, 1))]
    middle = sum(inner) / 2 - down * b * rng.uniform(0, 0.3)
    for picture, ink in ((canvas, colour), (cover, np.ones(3))):
        _line(picture, np.stack((inner[0], middle, inner[1])), ink, width)
    return _layer(canvas, cover, 0.3)


def thing(rng: np.random.Generator, marks: Array, palette: Palette) -> Layer:
    """A smooth blob of any stuff, from any side: a cup, a scarf, a brim, a microphone."""
    span = float(np.linalg.norm(marks[1] - marks[0]))
    middle = (marks[:2].mean(0) + marks[3:].mean(0)) / 2
    heading = rng.uniform(0, 2 * np.pi)
    size = span * rng.uniform(0.2, 0.9)
    centre = middle + np.array([np.cos(heading), np.sin(heading)]) * (span * rng.uniform(0.3, 1.2) + 0.5 * size)
    angle = np.linspace(0, 2 * np.pi, 40)
    radius = size * np.exp(sum(rng.normal(0, 0.35 / k) * np.cos(k * angle + rng.uniform(0, 6)) for k in (1, 2, 3)))
    outline = centre + np.stack((np.cos(angle), np.sin(angle)), 1) * radius[:, None]
    cover = _canvas(np.zeros(3))
    ImageDraw.Draw(cover).polygon([tuple(p * FINE) for p in outline], fill=(255, 255, 255))
    alpha = gaussian_filter(_array(cover)[..., 0], rng.uniform(0.2, 1.2))
    return np.dstack((stuff(rng, palette), alpha)).astype(np.float32)


def background(rng: np.random.Generator, marks: Array, palette: Palette) -> Layer:
    """What lies behind a head that is turned: the far cheek ends early."""
    eyes, mouth = marks[:2].mean(0), marks[3:].mean(0)
    side = rng.choice((-1, 1))
    v = np.linspace(-1.6, 2.2, 40)
    brow, cheek, chin = rng.uniform(0.66, 0.95), rng.uniform(0.62, 0.95), rng.uniform(0.1, 0.7)
    outline = (brow, brow, brow - 0.06, cheek, cheek - 0.12, chin, -1)
    half = gaussian_filter(np.interp(v, (-1.6, -0.35, 0.0, 0.45, 1.1, 1.6, 2.2), outline), 2.0)
    edge = eyes + (mouth - eyes) * v[:, None] + (marks[1] - marks[0]) * side * half[:, None]
    far = np.array([side * 3 * SIDE, 0])
    cover = _canvas(np.zeros(3))
    ImageDraw.Draw(cover).polygon([tuple(p * FINE) for p in (edge[0] + far, *edge, edge[-1] + far)], fill=(255,) * 3)
    alpha = gaussian_filter(_array(cover)[..., 0], rng.uniform(0.3, 1.0))
    return np.dstack((stuff(rng, palette), alpha)).astype(np.float32)


def stuff(rng: np.random.Generator, palette: Palette) -> Array:
    """A part of another portrait, or one colour and its shade (SIDE, SIDE, 3)."""
    if rng.random() < 0.5:
        y, x = np.mgrid[:SIDE, :SIDE] * rng.uniform(0.3, 1.5)
        shift = rng.uniform(0, SIDE, 2)
        where = (y + shift[0], x + shift[1])
        rgb = np.stack([map_coordinates(palette.stuff[..., c], where, order=1, mode="reflect") for c in range(3)], -1)
    else:
        ramp = np.mgrid[:SIDE, :SIDE].astype(np.float32) / SIDE - 0.5
        rgb = rng.uniform(0, 1, 3) + (ramp * rng.normal(0, 0.4, 2)[:, None, None]).sum(0)[..., None]
        rgb = rgb * (1 + 0.1 * gaussian_filter(rng.standard_normal((SIDE, SIDE)), rng.uniform(0.5, 2))[..., None])
    return np.asarray(np.clip(rgb, 0, 1), np.float32)


Kind = Callable[[np.random.Generator, Array, Palette], Layer]
KINDS: Sequence[tuple[Kind, float]] = (
    (locks, 0.4), (hand, 0.2), (glasses, 0.15), (thing, 0.1), (background, 0.15),
)  # fmt: skip


def draw(rng: np.random.Generator, marks: Array, palette: Palette) -> Layer:
    """None to three things; marks: the face's landmarks (5, 2), px of SIDE."""
    out = np.zeros((SIDE, SIDE, 4), np.float32)
    kinds, shares = zip(*KINDS, strict=True)
    for k in rng.choice(len(kinds), int(rng.choice((0, 1, 2, 3), p=(0.15, 0.45, 0.25, 0.15))), p=shares):
        out = over(out, kinds[k](rng, marks, palette))
    return out


def made_up(rng: np.random.Generator, image: Array, marks: Array) -> Array:
    """The face with dark eyes, darker brows, red lips or a beard: what is dark on it and does not hide it."""
    eyes, mouth = marks[:2].mean(0), marks[3:].mean(0)
    span = float(np.linalg.norm(marks[1] - marks[0]))
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)

    def spot(centre: Array, wide: float, high: float) -> Array:
        off = np.square((x - centre[0]) / (wide * span)) + np.square((y - centre[1]) / (high * span))
        return np.asarray(np.exp(-off))

    shades = []
    if rng.random() < 0.5:
        wide, high, lift = rng.uniform(0.2, 0.42), rng.uniform(0.08, 0.3), rng.uniform(-0.02, 0.12)
        shades.append(np.maximum(*(spot(e - (0, lift * span), wide, high) for e in marks[:2])))
    if rng.random() < 0.3:
        shades.append(np.maximum(*(spot(e - (0, 0.38 * span), 0.3, rng.uniform(0.05, 0.1)) for e in marks[:2])))
    if rng.random() < 0.3:
        shades.append(spot(mouth, 0.5, 0.2))
    if rng.random() < 0.4:
        low = np.clip((y - eyes[1] - rng.uniform(1.0, 1.4) * (mouth - eyes)[1]) / (0.2 * span), 0, 1)
        around = spot(mouth, rng.uniform(0.5, 1.2), rng.uniform(0.4, 1.0))
        grain = 1 + 0.5 * gaussian_filter(rng.standard_normal((SIDE, SIDE)), rng.uniform(0.3, 1))
        shades.append(np.clip(np.maximum(low, around) * grain, 0, 1))
    for shade in shades:
        ink = rng.uniform(0, 0.5) * rng.uniform(0.3, 1, 3)
        image = image + (shade * rng.uniform(0.2, 0.95))[..., None] * image * (ink - 1)
    return np.asarray(np.clip(image, 0, 1), np.float32)


def over(below: Layer, above: Layer) -> Layer:
    """One layer on another."""
    a, b = above[..., 3:], below[..., 3:] * (1 - above[..., 3:])
    both = a + b
    rgb = (above[..., :3] * a + below[..., :3] * b) / np.maximum(both, 1e-6)
    return np.concatenate((rgb, both), -1).astype(np.float32)


def _near(rng: np.random.Generator, colour: Array, off: float) -> Array:
    return np.clip(np.asarray(colour) + rng.normal(0, off, 3) + rng.normal(0, off / 3), 0.01, 1).astype(np.float32)


def _warm(rng: np.random.Generator) -> Array:
    """A colour that hair may have, at full light."""
    return np.array([1.0, rng.uniform(0.65, 0.95), rng.uniform(0.35, 0.9)], np.float32)


def _canvas(colour: Array) -> Image.Image:
    return Image.new("RGB", (SIDE * FINE, SIDE * FINE), tuple(int(255 * v) for v in np.clip(colour, 0, 1)))


def _line(picture: Image.Image, points: Array, colour: Array, width: int) -> None:
    """width: in px of the enlarged picture."""
    ink = tuple(int(255 * v) for v in np.clip(colour, 0, 1))
    ImageDraw.Draw(picture).line([tuple(p * FINE) for p in points], fill=ink, width=width, joint="curve")


def _array(picture: Image.Image) -> Array:
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX), np.float32) / 255


def _layer(canvas: Image.Image, cover: Image.Image, soft: float) -> Layer:
    rgb, alpha = _array(canvas), gaussian_filter(_array(cover)[..., 0], soft)
    return np.dstack((rgb, alpha)).astype(np.float32)
