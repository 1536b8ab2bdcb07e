"""Where the parts of an aligned face are, by its five landmarks: masks (256, 256), 0..1."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter
from torch import Tensor

from core.stages.align import SIDE

# Outline of a face's interior, in a frame with its origin between the eyes: x in inter-ocular distances; y below the
# eyes in distances from the eyes to the mouth, above them in inter-ocular distances (an open mouth lifts no brow).
# Above the brows to the chin, inside the jaw line.
OUTLINE = (
    (-0.48, -0.76), (0.0, -0.80), (0.48, -0.76), (0.86, -0.54), (1.00, 0.00), (0.90, 0.60), (0.70, 1.12),
    (0.40, 1.46), (0.0, 1.56), (-0.40, 1.46), (-0.70, 1.12), (-0.90, 0.60), (-1.00, 0.00), (-0.86, -0.54),
)  # fmt: skip
# Of the outline's half on the side a head turns to, how much goes out of sight for a `turn` of 1: what is surely face,
# and where it is known where the face ends.
TURN, LEAST_TURN = 0.6, 0.3
# Inter-ocular distances: half of what shows of an eye, across and down, and of what is between brow and cheek.
EYEBALL, LIDS = (0.17, 0.075), (0.24, 0.12)
LIPS = 0.93, 0.67  # of a mouth's half axes: without the skin around it
# How much each region counts when people compare faces (PerceptFace, arXiv:2509.11249, section 4.3).
REGIONS = {"brows": 0.192, "eyes": 0.223, "nose": 0.183, "mouth": 0.229, "skin": 0.174}


def turn(landmarks: NDArray[np.float32]) -> float:
    """How far the nose is off the middle of the eyes, in inter-ocular distances; positive to the picture's right."""
    left, right, nose = landmarks[:3]
    return float((nose - (left + right) / 2) @ (right - left)) / eye_distance(landmarks) ** 2


def face_mask(
    landmarks: NDArray[np.float32], grow: float = 0.0, feather: float = 5.0, hidden: float = TURN
) -> NDArray[np.float32]:
    """The interior of a face (256, 256), 1 inside, fading to 0 within the outline over about 2 `feather` px.

    `hidden`: TURN or LEAST_TURN.
    """
    left, right = landmarks[0], landmarks[1]
    eyes, mouth = (left + right) / 2, (landmarks[3] + landmarks[4]) / 2
    across, down = (right - left) * (1 + grow), (mouth - eyes) * (1 + grow)
    up = down * float(np.linalg.norm(across) / np.linalg.norm(down))
    away = hidden * turn(landmarks)
    points = [
        eyes + across * x * np.clip(1 - away * np.sign(x), 0.4, 1) + (down if y > 0 else up) * y for x, y in OUTLINE
    ]
    fine = 4  # drawn four times as large, then shrunk: a smooth outline
    canvas = Image.new("L", (SIDE * fine, SIDE * fine))
    ImageDraw.Draw(canvas).polygon([tuple((p + 0.5) * fine) for p in points], fill=255)
    hard = np.asarray(canvas.resize((SIDE, SIDE), Image.Resampling.BOX), np.float32) / 255
    # 2 g - 1 moves the soft border inwards: nothing of the persona passes the outline.
    soft = np.clip(2 * gaussian_filter(hard, feather) - 1, 0, 1)
    return np.asarray(soft, np.float32)


def face_masks(
    landmarks: Float[Tensor, "b 5 2"], grow: float = 0.0, feather: float = 5.0
) -> Float[Tensor, "b 1 256 256"]:
    """`face_mask` of a batch."""
    masks = [face_mask(m, grow, feather) for m in landmarks.cpu().numpy()]
    return torch.from_numpy(np.stack(masks)[:, None]).to(landmarks)


def change_masks(landmarks: Float[Tensor, "b 5 2"]) -> Float[Tensor, "b 1 256 256"]:
    """Where a method may change faces: somewhat beyond their interior, with a softer border."""
    return face_masks(landmarks, grow=0.12, feather=9.0)


def frame(
    landmarks: NDArray[np.float32], points: NDArray[np.floating[Any]] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How far each pixel, or each of `points` (n, 2), px, is to the right of the middle of the eyes, and below it, in
    inter-ocular distances."""
    left, right = landmarks[0], landmarks[1]
    across, eyes = (right - left) / eye_distance(landmarks) ** 2, (left + right) / 2
    x, y = _grid()[::-1] if points is None else points.T
    x, y = x - eyes[0], y - eyes[1]
    return x * across[0] + y * across[1], y * across[0] - x * across[1]


def skin_mask(landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Discs on both cheeks and between the brows (256, 256)."""
    left, right, nose, *_ = landmarks
    brow = (left + right) / 2 - (nose - (left + right) / 2) * 0.7
    return np.asarray(np.maximum.reduce([*cheek_masks(landmarks), _discs((brow,), 0.22 * eye_distance(landmarks))]))


def cheek_masks(landmarks: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A disc on the left cheek, and one on the right (256, 256)."""
    left, right, _, mouth_left, mouth_right = landmarks
    radius = 0.22 * eye_distance(landmarks)
    return _discs(((left + mouth_left) / 2,), radius), _discs(((right + mouth_right) / 2,), radius)


def between_lips(landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    """The middle of the mouth, where teeth show if any do (256, 256)."""
    left, right = landmarks[3], landmarks[4]
    across, middle = (right - left) / np.square(right - left).sum(), (left + right) / 2
    y, x = _grid()
    x, y = x - middle[0], y - middle[1]
    aside, below = x * across[0] + y * across[1], y * across[0] - x * across[1]
    return np.asarray((np.abs(aside) < 0.28) & (below > -0.12) & (below < 0.22), np.float32)


def features_mask(landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Discs over each eye with its brow, and over the mouth (256, 256): what is dark there is not shade."""
    left, right = landmarks[3:]
    mouth = _discs((left, (left + right) / 2, right), 0.24 * eye_distance(landmarks))
    return np.maximum(_eyes_and_brows(landmarks), mouth)


def lines_mask(landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Discs over each eye with its brow, and the lips alone (256, 256): what is drawn finer than skin is."""
    centre, (across, down) = _mouth(landmarks)
    lips = _from_ellipses(landmarks, (centre, (LIPS[0] * across, LIPS[1] * down))) < 1
    return np.maximum(_eyes_and_brows(landmarks), lips.astype(np.float32))


def _eyes_and_brows(landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    left, right = landmarks[:2]
    lift = 0.12 * ((left + right) / 2 - landmarks[3:].mean(0))
    return _discs((left + lift, right + lift), 0.40 * eye_distance(landmarks))


def openings_mask(landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Eyes between their lids and the mouth with its lips (256, 256), 0..1: what has a colour of its own."""
    left, right = landmarks[:2]
    far = _from_ellipses(landmarks, (left, LIDS), (right, LIDS), _mouth(landmarks))
    return np.asarray(np.exp(-(far**4)), np.float32)


def mouth_mask(landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mouth with its lips (256, 256), 0..1."""
    return np.asarray(np.exp(-(_from_ellipses(landmarks, _mouth(landmarks)) ** 4)), np.float32)


def _mouth(landmarks: NDArray[np.float32]) -> tuple[NDArray[np.float32], tuple[float, float]]:
    """The ellipse of a mouth: its centre, px, and half axes, across and down, in inter-ocular distances."""
    left, right = landmarks[3], landmarks[4]
    wide = float(np.linalg.norm(right - left)) / eye_distance(landmarks)
    return (left + right) / 2, (0.6 * wide, 0.3 * wide)


def eyeballs(landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    """What of open eyes shows between their lids (256, 256), fading towards these."""
    left, right = landmarks[:2]
    return np.asarray(np.clip(1.5 - _from_ellipses(landmarks, (left, EYEBALL), (right, EYEBALL)), 0, 1), np.float32)


def _from_ellipses(
    landmarks: NDArray[np.float32], *ellipses: tuple[NDArray[np.float32], tuple[float, float]]
) -> NDArray[np.float32]:
    """How far each pixel is from the nearest of some ellipses, 1 on its edge: each has a centre, px, and half axes,
    across and down, in inter-ocular distances."""
    x, y = frame(landmarks)
    places = zip(*frame(landmarks, np.stack([centre for centre, _ in ellipses])), strict=True)
    halves = (half for _, half in ellipses)
    far = [np.hypot((x - i) / a, (y - j) / b) for (i, j), (a, b) in zip(places, halves, strict=True)]
    return np.asarray(np.min(far, 0), np.float32)


def region_weights(landmarks: Float[Tensor, "b 5 2"]) -> Float[Tensor, "b 1 256 256"]:
    """A mask in which each of REGIONS has its share, whatever its size."""
    maps = [_region_weights(m) for m in landmarks.cpu().numpy()]
    return torch.from_numpy(np.stack(maps)[:, None]).to(landmarks)


def _region_weights(landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    left, right, nose, mouth_left, mouth_right = landmarks
    middle, mouth, span = (left + right) / 2, (mouth_left + mouth_right) / 2, eye_distance(landmarks)
    lift = 0.3 * (middle - mouth)
    regions = {
        "eyes": _discs((left, right), 0.24 * span),
        "brows": _discs((left + lift, right + lift), 0.30 * span),
        "nose": _discs((nose, (nose + middle) / 2), 0.26 * span),
        "mouth": _discs((mouth_left, mouth, mouth_right), 0.26 * span),
        "skin": face_mask(landmarks),
    }
    weights, free = np.zeros((SIDE, SIDE), np.float32), np.ones((SIDE, SIDE), np.float32)
    for name, mask in regions.items():  # where two overlap, the first one has it
        own = mask * free
        weights += own * (REGIONS[name] / max(float(own.sum()), 1.0))
        free *= 1 - mask
    return np.asarray(gaussian_filter(weights, 2.0) / weights.max(), np.float32)


def _discs(centres: Iterable[NDArray[np.float32]], radius: float) -> NDArray[np.float32]:
    y, x = _grid()
    return np.asarray(np.any([(x - c[0]) ** 2 + (y - c[1]) ** 2 < radius**2 for c in centres], 0), np.float32)


def around(mask: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a mask (256, 256) covers, and what that shades and blurs."""
    return np.asarray(np.clip(3 * gaussian_filter(mask, 4.0), 0, 1), np.float32)


def rectangle(masks: Float[Tensor, "b 1 h w"], margin: int) -> tuple[slice, ...]:
    """The smallest part of images (B, c, h, w) that holds all masks and `margin` px around them."""
    rows, columns = (masks.amax((0, 1, d)).nonzero()[:, 0] for d in (3, 2))
    part = (slice(max(0, int(i.min()) - margin), int(i.max()) + margin + 1) for i in (rows, columns))
    return (slice(None), slice(None), *part)


def tiles(masks: Float[Tensor, "b 1 h w"], across: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The smallest rectangle of whole tiles, `across` in a row, that holds all masks: in tiles, and in px."""
    side = masks.shape[-1] // across
    part = rectangle(F.max_pool2d(masks, side), 0)
    return part, (*part[:2], *(slice(side * s.start, side * s.stop) for s in part[2:]))


def eye_distance(landmarks: NDArray[np.float32]) -> float:
    return float(np.linalg.norm(landmarks[1] - landmarks[0]))


@cache
def _grid() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    return y, x
