"""Augmented faces, for students to learn from what teachers make of them (training/shards.py).

Students learn to be the teachers as functions: each view is embedded by the teachers as it is, so distortions and
mixtures of two faces are as good as photos, and 11,000 portraits become as many faces as there is time for
(Beyer et al. 2022, arXiv:2106.05237).
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from rich.progress import track
from torch import Tensor

from core.networks import warp
from core.networks.students import Student
from core.stages.optimise import blur
from training import composites, portraits

BATCH = 128
COMPOSITES = 48  # of a batch
PATCHES, BENDING = 4.0, 4.0  # how sharply parts of faces meet; px, standard deviation at most
SIDE = 128  # px; the middle 112 are the crop that the teachers see
# Where the landmarks land in a view, px: the teachers' template (ArcFace's), 8 px further in.
TEMPLATE = ((46.2946, 59.6963), (81.5318, 59.5014), (64.0252, 79.6663), (49.5493, 100.3655), (78.7299, 100.2041))
# lfw_gray shows this window of the common layout, at this scale; see ../shared/data/portraits/README.md.
WINDOW, SCALE = (48, 56), 0.8


@dataclass(frozen=True, slots=True)
class Faces:
    """images: uint8 (N, 3, 256, 256); landmarks: (N, 5, 2) px in them."""

    images: Tensor
    landmarks: Tensor

    @classmethod
    def read(cls, sources: tuple[str, ...]) -> Faces:
        """All portraits of these sources, in the common layout."""
        rows = portraits.read(sources)
        images = torch.zeros(len(rows), 3, 256, 256, dtype=torch.uint8)
        marks = torch.zeros(len(rows), 5, 2)
        for i, row in enumerate(track(rows, "read portraits")):
            pixels, found = row.pixels(), torch.tensor(row.landmarks, dtype=torch.float32)
            if len(pixels) == 256:
                images[i], marks[i] = torch.from_numpy(pixels.copy()).permute(2, 0, 1), found
                continue
            side = round(len(pixels) / SCALE)
            grown = np.array(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))
            x, y = WINDOW
            images[i, :, y : y + side, x : x + side] = torch.from_numpy(grown).permute(2, 0, 1)
            marks[i] = (found + 0.5) / SCALE - 0.5 + torch.tensor(WINDOW)
        return cls(images, marks)


def draw(faces: Faces, generator: torch.Generator, students: list[Student], invented: bool = False) -> Tensor:
    """A batch of views, float RGB in [0, 1] (BATCH, 3, SIDE, SIDE); students, if any, spoil the composites.

    `invented` is for few faces: most are patched together from several and bent, so that they are nobody's.
    """
    cut = _cut(faces, generator)
    if invented:
        cut = _bent(_patched(cut, generator), generator)
    made = composites.composites(cut[:COMPOSITES], cut[-COMPOSITES:], students, generator)
    images = torch.cat((made, _mixed(cut, generator)[COMPOSITES:]))
    images = _photographed(images, generator)
    return _occluded(images, generator).clamp(0, 1)


def _chance(p: float, g: torch.Generator) -> Tensor:
    return (torch.rand(BATCH, generator=g) < p).float().view(-1, 1, 1, 1)


def _cut(faces: Faces, g: torch.Generator) -> Tensor:
    """Crops by slightly wrong landmarks, mirrored at random."""
    index = torch.randint(len(faces.images), (BATCH,), generator=g)
    marks = faces.landmarks[index] + torch.randn(BATCH, 5, 2, generator=g) * 1.5
    matrix = warp.similarity(marks, torch.tensor(TEMPLATE))
    images = warp.sample(faces.images[index].float() / 255, matrix, (SIDE, SIDE))
    return torch.where(torch.rand(BATCH, 1, 1, 1, generator=g) < 0.5, images.flip(-1), images)


def _mixed(images: Tensor, g: torch.Generator) -> Tensor:
    """A third are means of two faces, a sixth have a rectangle of another face."""
    other = images.roll(1, 0)
    share = torch.rand(BATCH, 1, 1, 1, generator=g) * 0.7 + 0.15
    out = images + _chance(1 / 3, g) * (1 - share) * (other - images)
    return torch.where((_chance(1 / 6, g) * _rectangles(0.3, 0.7, g)) > 0, other, out)


def _patched(images: Tensor, g: torch.Generator) -> Tensor:
    """Two thirds have parts of another face, where a smooth random map says so."""
    share = torch.sigmoid(PATCHES * _smooth(1, 5, g)) * _chance(2 / 3, g)
    return images + share * (images.roll(1, 0) - images)


def _bent(images: Tensor, g: torch.Generator) -> Tensor:
    """Each by a smooth random field: longer noses, wider eyes, other jaws."""
    size = BENDING * torch.rand(BATCH, 1, 1, 1, generator=g) * 2 / SIDE
    field = (_smooth(2, 6, g) * size).permute(0, 2, 3, 1)
    still = F.affine_grid(torch.eye(2, 3).expand(BATCH, 2, 3), [BATCH, 3, SIDE, SIDE], align_corners=False)
    return F.grid_sample(images, still + field, padding_mode="border", align_corners=False)


def _smooth(channels: int, knots: int, g: torch.Generator) -> Tensor:
    """Random maps (BATCH, channels, SIDE, SIDE) of about unit variance that change over SIDE / knots px."""
    coarse = torch.randn(BATCH, channels, knots, knots, generator=g)
    return F.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic", align_corners=False)


def _photographed(images: Tensor, g: torch.Generator) -> Tensor:
    """Gray, colour cast, light, contrast, blur, low resolution, JPEG, noise."""
    gray = images.mean(1, keepdim=True)
    images = images + _chance(0.25, g) * (gray - images)
    images = images * (1 + torch.randn(BATCH, 3, 1, 1, generator=g) * 0.06)
    mean = images.mean((1, 2, 3), keepdim=True)
    contrast, light = (torch.exp(torch.randn(BATCH, 1, 1, 1, generator=g) * s) for s in (0.2, 0.25))
    images = (((images - mean) * contrast + mean) * light).clamp(1e-4, 1)
    blurred = blur(images, 0.5 + 1.5 * float(torch.rand((), generator=g)))
    images = images + _chance(0.2, g) * (blurred - images)
    images = images + torch.randn(images.shape, generator=g) * 0.04 * _chance(0.15, g)
    for i in torch.nonzero(torch.rand(BATCH, generator=g) < 0.2)[:, 0].tolist():
        images[i] = _jpeg(images[i], int(torch.randint(30, 90, (), generator=g)))
    return images


def _jpeg(image: Tensor, quality: int) -> Tensor:
    eight = (image.clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(eight).save(buffer, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(buffer))).permute(2, 0, 1).float() / 255


def _occluded(images: Tensor, g: torch.Generator) -> Tensor:
    """One in eight has a rectangle of one colour, as of a hand, a mask or dark glasses."""
    colour = torch.rand(BATCH, 3, 1, 1, generator=g)
    return torch.where((_chance(1 / 8, g) * _rectangles(0.15, 0.45, g)) > 0, colour, images)


def _rectangles(low: float, high: float, g: torch.Generator) -> Tensor:
    """Random rectangles (BATCH, 1, SIDE, SIDE), 1 inside; sides are shares of SIDE."""
    size = (low + (high - low) * torch.rand(BATCH, 2, generator=g)) * SIDE
    start = torch.rand(BATCH, 2, generator=g) * (SIDE - size)
    ramp = torch.arange(SIDE)[None]
    rows, columns = ((ramp >= start[:, d, None]) & (ramp < (start + size)[:, d, None]) for d in (0, 1))
    return (rows[:, None, :, None] & columns[:, None, None, :]).float()
