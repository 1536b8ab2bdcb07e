"""Beards go on over a persona, which has none: means of several faces are shaven."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from core.stages.colour import luminance
from core.stages.regions import cheek_masks, frame

HAIR_SIGMA = 2.0  # px; hair is what is finer; it says less of who somebody is than the lines it lies on
LIGHT_SIGMA, AROUND_SIGMA = 6.0, 5.0  # px, of the light that detail is measured in, and of how far around it
ROUGH = 1.6, 2.6  # times as much detail as on the cheeks: from when on it may be hair, and from when on it is
FAINT = 0.004  # share of the light: detail that smooth cheeks may have, too
BELOW = 0.12, 0.24  # inter-ocular distances below the tip of the nose: where beards begin
MOST = 0.3, 0.45  # share of a lower face that is hairy: less is a mouth's corners, teeth or the edge of a jaw
SOFT = 3.0  # px


def beard(
    picture: NDArray[np.float32],
    landmarks: NDArray[np.float32],
    plain: NDArray[np.float32],
    inside: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Where an aligned face, RGB in [0, 1] (256, 256, 3), has a beard, 0..1: where its lower part is rougher than its
    cheeks, if most of that is. `plain`: what is neither lips nor covered; `inside`: the face; all (256, 256), 0..1."""
    light, skin = luminance(picture), np.clip(2 * plain - 1, 0, 1)  # beyond lips' edges, which are rough, too
    detail = (light - gaussian_filter(light, HAIR_SIGMA)) / (gaussian_filter(light, LIGHT_SIGMA) + 0.05)
    near = gaussian_filter(skin, AROUND_SIGMA) + 0.05
    rough = np.sqrt(gaussian_filter(np.square(detail) * skin, AROUND_SIGMA) / near)
    smooth = min(float(np.median(rough[cheek > 0])) for cheek in cheek_masks(landmarks)) + FAINT
    hairy = np.clip((rough / smooth - ROUGH[0]) / (ROUGH[1] - ROUGH[0]), 0, 1)
    y, nose = frame(landmarks)[1], frame(landmarks, landmarks[2:3])[1]
    lower = plain * np.clip((y - nose - BELOW[0]) / (BELOW[1] - BELOW[0]), 0, 1)
    share = (hairy * lower * inside).sum() / max(float((lower * inside).sum()), 1e-6)
    there = np.clip((share - MOST[0]) / (MOST[1] - MOST[0]), 0, 1)
    return np.asarray(gaussian_filter(there * hairy * lower, SOFT), np.float32)


def bearded(
    image: NDArray[np.float32], picture: NDArray[np.float32], where: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The image (256, 256, 3) with the fine detail of the picture (256, 256, 3) where that has a beard (256, 256)."""
    sigma = (HAIR_SIGMA, HAIR_SIGMA, 0)
    hair = (picture - gaussian_filter(picture, sigma)) - (image - gaussian_filter(image, sigma))
    return np.asarray(image + where[..., None] * hair, np.float32)
