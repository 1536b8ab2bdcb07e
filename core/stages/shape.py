"""Bring a picture of a face into the shape of another: onto its landmarks, turned as it is, brows and nostrils as high
as its."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d, label, sum_labels
from skimage.transform import ThinPlateSplineTransform

from core.stages.align import SIDE
from core.stages.colour import grey, over_channels
from core.stages.decouple import to_arrays
from core.stages.pose import Numbers, Points, Pose
from core.stages.regions import frame

# Neighbours so far apart, px, are taken partly or wholly from an image that is softer by SOFT (standard deviations).
SQUEEZED, SOFT = (1.4, 2.6), (1.0, 4.0, 0.0)
# Points far from the face that a landmark warp leaves in place, px.
ANCHORS = ((0, 0), (SIDE - 1, 0), (0, SIDE - 1), (SIDE - 1, SIDE - 1), (SIDE / 2, SIDE - 1), (SIDE / 2, 0))
PIXELS = np.mgrid[:SIDE, :SIDE][::-1].reshape(2, -1).T.astype(np.float64)  # (x, y), row by row
STRIDE = 2  # px; a warp is so smooth that it is worked out at every other pixel only
KNOTS = np.mgrid[: SIDE + 1 : STRIDE, : SIDE + 1 : STRIDE][::-1].reshape(2, -1).T.astype(np.float64)

ROW = 0.02  # inter-ocular distances; features are looked for by rows of this height
SEEN = 0.6  # share of the rows that must be seen
FAINT = 0.08  # a feature is darker (logarithm) than the skin above it, by more than this
NEARLY = 0.6  # hair, lids and creases may get darker, too: the first of those that do by this share of the darkest
MOST = 0.10  # inter-ocular distances that a feature may be moved


@dataclass(frozen=True, slots=True)
class Feature:
    """Something darker than the skin above it. In inter-ocular distances:

    at: landmarks around which it is looked for. aside: how far to both sides. rows: from where to where below them.
    reach: how far to both sides, up and down (standard deviations) skin goes with it.
    """

    at: tuple[int, ...]
    aside: float
    rows: tuple[float, float]
    reach: tuple[float, float, float]


FEATURES = (
    Feature((0, 1), 0.16, (-0.62, -0.10), (0.34, 0.30, 0.13)),  # brows
    Feature((2,), 0.14, (-0.06, 0.24), (0.26, 0.11, 0.14)),  # nostrils
)


def target_landmarks(source: NDArray[np.float32], own: NDArray[np.float32]) -> NDArray[np.float32]:
    """Where the landmarks of a face go: its eyes onto the source's, all else by how it would look turned as that is.

    Its mouth stays as high as it is. But it goes half of the way to the source's width, because a smile squeezed to the
    width of a closed mouth is a grimace, and one that stays is not the source's expression; and its nose goes half of
    the way to the source's height, by which one sees how far a head is raised.
    """
    pose = Pose.of(own)
    turned = pose.turned(Pose.of(source).angle).project(pose.unproject(own))
    spans = [float(np.linalg.norm(m[1] - m[0])) for m in (source, own)]
    widths = [float(np.linalg.norm(m[4] - m[3])) for m in (source, own)]
    grow = (widths[1] / spans[1]) / (widths[0] / spans[0])
    (nose, mouth), (own_nose, own_mouth) = (
        [float(frame(m, m[part])[1].mean()) for part in (slice(2, 3), slice(3, 5))] for m in (source, turned)
    )
    across = source[1] - source[0]
    down = np.array((-across[1], across[0]))
    target = source.copy()
    target[2] += (own_nose - nose) / 2 * down
    target[3:] += (own_mouth - mouth) * down
    target[3:] = target[3:].mean(0) + (target[3:] - target[3:].mean(0)) * np.sqrt(grow)
    return target


def origins(landmarks: NDArray[np.float32], target: NDArray[np.float32], angle: float) -> Points:
    """Where each pixel (65536, 2) comes from, px, if a face is turned to an angle and then warped by the thin-plate
    spline that takes its landmarks to the target."""
    own = Pose.of(landmarks)
    turned = own.turned(angle)
    marks = turned.project(own.unproject(landmarks))
    anchors = np.array(ANCHORS)
    spline = ThinPlateSplineTransform.from_estimate(np.vstack((target, anchors)), np.vstack((marks, anchors)))
    knots = torch.from_numpy(own.project(turned.unproject(spline(KNOTS)))).view(1, SIDE // STRIDE + 1, -1, 2)
    fine = F.interpolate(knots.permute(0, 3, 1, 2), (SIDE + 1, SIDE + 1), mode="bilinear", align_corners=True)
    return np.asarray(fine[0, :, :SIDE, :SIDE].flatten(1).T.numpy())


def levelled(points: Points, landmarks: NDArray[np.float32], here: Numbers, there: Numbers) -> Points:
    """`origins` of a face with these landmarks whose features are `here` instead of `there`, each as `heights`.

    Both brows go together: one that is not found, or found in a shadow, would make a face crooked.
    """
    x, y = frame(landmarks)
    move = np.clip(there - here, -MOST, MOST)
    amount = np.zeros_like(x)
    for feature, height, step in zip(FEATURES, here, move, strict=True):
        if np.isnan(step):
            continue
        aside, up, down = feature.reach
        for u, v in zip(*frame(landmarks, landmarks[list(feature.at)]), strict=True):
            below = y - v - height
            near = np.square((x - u) / aside) + np.square(below / np.where(below < 0, up, down))
            amount += np.float32(step) * np.exp(-near / 2)
    across = landmarks[1] - landmarks[0]
    moved = PIXELS + amount.reshape(-1, 1) * np.array((-across[1], across[0]))
    maps = points.reshape(SIDE, SIDE, 2).astype(np.float32)
    return np.asarray(sampled(maps, moved).reshape(-1, 2), np.float64)


def heights(
    image: NDArray[np.float32], landmarks: NDArray[np.float32], covered: NDArray[np.float32] | None = None
) -> Numbers:
    """How far below its landmarks each of FEATURES begins in a picture (256, 256, 3), in inter-ocular distances; of the
    brows, the mean. nan where it is `covered` (256, 256), 0..1, or not to be told from the skin around it."""
    x, y = frame(landmarks)
    luma = np.log(grey(image).clip(0, 1) + 0.03)
    bare = np.ones_like(luma) if covered is None else 1 - covered
    found = []
    for feature in FEATURES:
        seen = []
        for u, v in zip(*frame(landmarks, landmarks[list(feature.at)]), strict=True):
            edges = np.arange(*feature.rows, ROW)
            inside = (np.abs(x - u) < feature.aside) & (y - v > edges[0]) & (y - v < edges[-1])
            seen += _darker(luma[inside], bare[inside], (y - v)[inside], edges)
        found.append(np.mean(seen) if seen else np.nan)
    return np.array(found)


def _darker(luma: Numbers, bare: Numbers, y: Numbers, edges: Numbers) -> list[float]:
    """Where, from top to bottom, it first gets nearly as much darker as anywhere between `edges`, if it does at all.

    The upper edge of a brow is there even where a low one and the shadow of its eye are all one.
    """
    count, weight, total = (np.histogram(y, edges, weights=w)[0] for w in (None, bare, bare * luma))
    seen = weight > 0.5 * np.maximum(count, 1)
    if seen.mean() < SEEN:
        return []
    rows = (edges[:-1] + edges[1:]) / 2
    line = gaussian_filter1d(np.interp(rows, rows[seen], total[seen] / weight[seen]), 0.8)
    falls = np.where(seen[:-1] & seen[1:], -np.diff(line), 0).clip(0)
    slopes, count = label(falls)
    depths = sum_labels(falls, slopes, np.arange(1, count + 1))
    if depths.max(initial=0) < FAINT:
        return []
    first = int((depths >= NEARLY * depths.max()).argmax()) + 1
    return [float(np.average(edges[1:-1], weights=falls * (slopes == first)))]


def taken(image: NDArray[np.float32], points: Points) -> NDArray[np.float32]:
    """The image (256, 256, 3) at points (65536, 2), px, row by row; softer where they are far apart."""
    plain, soft = sampled(image, points), sampled(gaussian_filter(image, SOFT), points)
    share = np.clip((squeezed(points) - SQUEEZED[0]) / (SQUEEZED[1] - SQUEEZED[0]), 0, 1)
    return np.asarray(plain + gaussian_filter(share, 1.0)[..., None] * (soft - plain), np.float32)


def sampled(image: NDArray[np.float32], points: Points) -> NDArray[np.float32]:
    """The image (256, 256, n) at points (65536, 2), px, row by row."""
    grid = torch.from_numpy((2 * points + 1) / SIDE - 1).float().view(1, SIDE, SIDE, 2)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
    moved = F.grid_sample(pixels, grid, mode="bicubic", padding_mode="border", align_corners=False)
    return np.asarray(to_arrays(moved)[0])


def squeezed(points: Points) -> NDArray[np.float64]:
    """How far apart neighbours (256, 256) are where they are taken from, px: the far side of a turned nose ends up in a
    line."""
    apart = np.gradient(points.reshape(SIDE, SIDE, 2), axis=(0, 1))
    return np.asarray(np.sqrt(np.maximum(*(over_channels(np.add, np.square(step)) for step in apart))))
