"""Register one picture of a face to another: move its drawing onto the other's, as soft tissue moves."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.registration import optical_flow_tvl1

from core.stages.align import SIDE
from core.stages.pose import Points
from core.stages.shape import PIXELS, sampled

GRID = 2  # px; a flow that is smoothed needs no finer one
# A drawing is what is coarser than LINE and finer than AREA, px; what is fainter than WEAK (logarithm) is noise.
LINE, AREA, WEAK = 1.5, 12.0, 0.03
SMOOTH = 10.0  # px; finer flows fold lips and lids
MOST = 0.06  # inter-ocular distances that anything is moved


def registered(
    points: Points, image: NDArray[np.float32], target: NDArray[np.float32], mask: NDArray[np.float32], span: float
) -> Points:
    """`points` (65536, 2), px, of which the image (256, 256, 3) was taken, for one that is registered to the target.

    Only what both show inside the mask (256, 256), 0..1, is moved, by MOST of the `span` of the eyes: a persona gets
    the tilt of the brows, the opening of the eyes, the line of the mouth. Dense optical flow (TV-L1: Zach et al. 2007,
    doi:10.1007/978-3-540-74936-3_22) of drawings, smoothed.
    """
    here, there = (drawing(x, mask)[::GRID, ::GRID] for x in (target, image))
    flow = GRID * optical_flow_tvl1(here, there, attachment=3, num_warp=3, num_iter=5, tol=1e-3)
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
    """Lines and edges of an image (256, 256, 3) inside the mask, about as strong in any light; (256, 256)."""
    luma = gaussian_filter(np.log(image.mean(-1).clip(0, 1) + 0.03), LINE)
    lines = luma - gaussian_filter(luma, AREA)
    return np.asarray(lines / np.sqrt(gaussian_filter(np.square(lines), AREA) + WEAK**2) * mask, np.float32)
