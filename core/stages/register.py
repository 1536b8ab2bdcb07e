"""Register one picture of a face to another: move its drawing onto the other's, as soft tissue moves."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.registration import optical_flow_tvl1

from core.stages.align import SIDE
from core.stages.colour import grey
from core.stages.pose import Points
from core.stages.shape import PIXELS, sampled

GRID = 2  # px; a flow that is smoothed needs no finer one
# A drawing is what is coarser than LINE and finer than AREA, px; what is fainter than WEAK (logarithm) is noise.
LINE, AREA, WEAK = 1.5, 12.0, 0.03
SMOOTH = 10.0  # px; finer flows fold lips and lids
MOST = 0.06  # inter-ocular distances that anything is moved


def registered(
    points: Points, drawn: NDArray[np.float32], target: NDArray[np.float32], mask: NDArray[np.float32], span: float
) -> Points:
    """`points` (65536, 2), px, of which a picture was taken, for one whose `drawing` comes onto the target.

    Only what is inside the mask (256, 256), 0..1, is moved, by MOST of the `span` of the eyes: a persona gets the tilt
    of the brows, the opening of the eyes, the line of the mouth. Dense optical flow (TV-L1: Zach et al. 2007,
    doi:10.1007/978-3-540-74936-3_22), smoothed.
    """
    flow = GRID * optical_flow_tvl1(target, drawn, attachment=3, num_warp=3, num_iter=5, tol=1e-3)
    weight, sigma = mask[::GRID, ::GRID], SMOOTH / GRID
    flow = gaussian_filter(flow * weight, (0, sigma, sigma)) / (gaussian_filter(weight, sigma) + 0.05)
    length, most = np.linalg.norm(flow, axis=0) + 1e-6, MOST * span
    flow *= most * np.tanh(length / most) / length
    fine = F.interpolate(torch.from_numpy(flow)[None], (SIDE, SIDE), mode="bilinear")[0].numpy()
    fine = fine * gaussian_filter(mask, 4.0)
    maps = points.reshape(SIDE, SIDE, 2).astype(np.float32)
    moved = sampled(maps, PIXELS + fine[::-1].reshape(2, -1).T)  # (x, y)
    return np.asarray(moved.reshape(-1, 2), np.float64)


def drawing(image: NDArray[np.float32], mask: NDArray[np.float32]) -> NDArray[np.float32]:
    """Lines and edges of an image (256, 256, 3) inside the mask (256, 256), about as strong in any light and beside any
    hair; at every GRID pixels (128, 128)."""
    luma = gaussian_filter(np.log(grey(image).clip(0, 1) + 0.03), LINE)[::GRID, ::GRID]
    weight = mask[::GRID, ::GRID]
    lines = luma - _mean(luma, weight)
    return np.asarray(weight * lines / np.sqrt(_mean(np.square(lines), weight) + WEAK**2), np.float32)


def _mean(values: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Over AREA around each place, of what has weight."""
    sigma = AREA / GRID
    return np.asarray(gaussian_filter(values * weight, sigma) / (gaussian_filter(weight, sigma) + 1e-4), np.float32)
