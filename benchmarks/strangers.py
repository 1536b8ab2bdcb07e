"""Strangers: networks that look at a protected photo, and what happens to the photo on its way to them."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from torch import Tensor

from benchmarks import faceres
from core.errors import NoFaceFound
from core.networks import Detector, Networks
from core.stages.align import align, find, paste
from core.stages.denoise import denoise
from core.stages.latents import decode, encode
from core.stages.validate import Photo
from training import facenet, pairs, teachers

FARS = pairs.FARS
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Pairs:
    """uint8 images and landmarks of photos a and b; `numbers` are those of the pairs in the whole set."""

    numbers: list[int]
    a: Tensor
    b: Tensor
    marks_a: Tensor
    marks_b: Tensor

    @classmethod
    def read(cls, count: int) -> Pairs:
        """As many of all pairs, evenly."""
        images, marks = pairs.read()
        n = len(images) // 2
        rows = torch.arange(min(count, n)) * n // min(count, n)
        return cls(rows.tolist(), images[rows], images[n + rows], marks[rows], marks[n + rows])

    def __len__(self) -> int:
        return len(self.a)

    def part(self, rows: list[int]) -> Pairs:
        """Some of them."""
        numbers = [self.numbers[i] for i in rows]
        return Pairs(numbers, *(x[rows] for x in (self.a, self.b, self.marks_a, self.marks_b)))


class Recogniser:
    """Any network with `embed`, and what it says of the pairs before protection."""

    def __init__(self, net: Any, cuts: dict[float, float], data: Pairs) -> None:
        self.name, self.role, self.net, self.cuts = net.name, net.role, net, cuts
        with torch.no_grad():
            plain, self.other = (
                net.embed(data.a.float() / 255, data.marks_a),
                net.embed(data.b.float() / 255, data.marks_b),
            )
        self.before = (plain * self.other).sum(1)

    def success(
        self,
        images: Sequence[Pixels | None],
        marks: Sequence[Tensor | None],
        far: float,
        among: Sequence[bool] | None = None,
    ) -> float:
        """Share of pairs that match, of those that matched before protection, all or `among` some; what has no picture,
        or no face in it, does not match."""
        matched = self.before >= self.cuts[far]
        if among is not None:
            matched &= torch.tensor(among)
        return float((self.after(images, marks)[matched] >= self.cuts[far]).float().mean())

    def after(self, images: Sequence[Pixels | None], marks: Sequence[Tensor | None]) -> Tensor:
        """Cosines of protected photos to the other ones (n,); -1 for what has no picture, or no face in it."""
        seen = [
            (i, x, m) for i, (x, m) in enumerate(zip(images, marks, strict=True)) if x is not None and m is not None
        ]
        rows = [i for i, _, _ in seen]
        batch = to_images([x for _, x, _ in seen])
        with torch.no_grad():
            vectors = self.net.embed(batch, torch.stack([m for _, _, m in seen]))
        cosines = torch.full_like(self.before, -1.0)
        cosines[rows] = (vectors * self.other[rows]).sum(1)
        return cosines


def recognisers(networks: Networks, data: Pairs) -> list[Recogniser]:
    """All that there are, ours as well, each on the CPU. They look once, as strangers do, and so were the thresholds
    measured."""
    ours = [deepcopy(e).cpu() for e in networks.encoders]
    elsewhere = [net for net in (facenet.load(), faceres.load()) if net]
    own, others = (
        [(net, pairs.Scores.of(net, mirrored=False).thresholds()) for net in some] for some in (ours, elsewhere)
    )
    return [Recogniser(net, cuts, data) for net, cuts in (*own, *teachers.networks(), *others)]


def to_photo(image: Tensor) -> Photo:
    """Of an image uint8 (3, h, w)."""
    return Photo(image.permute(1, 2, 0).numpy().copy())


def landmarks(detector: Detector, image: Pixels | None) -> Tensor | None:
    """Of the largest face, as a stranger's detector finds it."""
    if image is None:
        return None
    try:
        return find(Photo(image), detector)[0]
    except NoFaceFound:
        return None


def _jpeg(quality: int) -> Callable[[Image.Image], Image.Image]:
    def degrade(image: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        return Image.open(buffer).convert("RGB")

    return degrade


def _half(image: Image.Image) -> Image.Image:
    small = image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)
    return small.resize(image.size, Image.Resampling.BICUBIC)


def _blur(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(1.5))


DEGRADED: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG 95": _jpeg(95), "JPEG 85": _jpeg(85), "JPEG 75": _jpeg(75), "half size": _half, "blur 1.5 px": _blur,
}  # fmt: skip
PURIFIED = (0.05, 0.15)  # shares of the noise schedule


def degradations(networks: Networks) -> dict[str, Callable[[Pixels], Pixels]]:
    """What happens to pictures on their way, and what who wants to read them tries: purification."""

    def as_arrays(degrade: Callable[[Image.Image], Image.Image]) -> Callable[[Pixels], Pixels]:
        return lambda pixels: np.asarray(degrade(Image.fromarray(pixels)))

    ways = {name: as_arrays(degrade) for name, degrade in DEGRADED.items()}
    ways["autoencoder"] = partial(purify, networks=networks, start=None)
    if networks.denoiser:
        ways |= {f"denoiser, {start:.0%}": partial(purify, networks=networks, start=start) for start in PURIFIED}
    return ways


@torch.no_grad()
def purify(pixels: Pixels, networks: Networks, start: float | None) -> Pixels:
    """Through the latent space, and through noise up to `start` of the schedule."""
    try:
        faces = align(Photo(pixels), networks.detector, networks.device, "largest")
    except NoFaceFound:
        return pixels
    z = encode(faces.images, networks.autoencoder)
    if start and networks.denoiser:
        tokens = networks.denoiser.conditioner(None, None, len(z))
        z = denoise(z, networks.denoiser, tokens, start, 3, torch.Generator().manual_seed(0))
    return paste(replace(faces, whole=True), decode(z, networks.autoencoder).clamp(0, 1)).pixels


def to_images(pictures: Sequence[Pixels]) -> Tensor:
    """RGB in [0, 1] (N, 3, h, w)."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255


def each(change: Callable[[Pixels], Pixels], images: list[Pixels | None]) -> list[Pixels | None]:
    return [None if i is None else change(i) for i in images]
