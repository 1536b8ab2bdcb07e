"""Similarity transforms of five landmarks, and differentiable sampling through them."""

from __future__ import annotations

import math
from functools import reduce

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def similarity(source: Float[Tensor, "b n 2"], target: Float[Tensor, "*b n 2"]) -> Float[Tensor, "b 2 3"]:
    """Least-squares similarity (rotation, scale, shift; no mirror) that takes source points to target, px."""
    target = target.to(source).expand_as(source)
    s_mean, t_mean = source.mean(1), target.mean(1)
    s, t = source - s_mean[:, None], target - t_mean[:, None]
    power = (s * s).sum((1, 2))
    a = (s * t).sum((1, 2)) / power  # scale * cos(angle)
    b = (s[..., 0] * t[..., 1] - s[..., 1] * t[..., 0]).sum(1) / power  # scale * sin(angle)
    linear = torch.stack((a, -b, b, a), -1).view(-1, 2, 2)
    shift = t_mean - (linear @ s_mean[..., None])[..., 0]
    return torch.cat((linear, shift[..., None]), -1)


def turned(
    angle: Float[Tensor, " b"], scale: Float[Tensor, " b"], about: Float[Tensor, "b 2"], shift: Float[Tensor, "b 2"]
) -> Float[Tensor, "b 2 3"]:
    """The transform that turns (radians) and scales about a point and then shifts, px."""
    cos, sin = scale * angle.cos(), scale * angle.sin()
    linear = torch.stack((cos, -sin, sin, cos), -1).view(-1, 2, 2)
    return torch.cat((linear, (about - (linear @ about[..., None])[..., 0] + shift)[..., None]), -1)


def invert(matrix: Float[Tensor, "b 2 3"]) -> Float[Tensor, "b 2 3"]:
    """The transform that undoes `matrix`."""
    linear = torch.linalg.inv(matrix[..., :2])
    return torch.cat((linear, -linear @ matrix[..., 2:]), -1)


def move(points: Float[Tensor, "b n 2"], matrix: Float[Tensor, "b 2 3"]) -> Float[Tensor, "b n 2"]:
    """Points carried by the transform, px."""
    return points @ matrix[..., :2].transpose(1, 2) + matrix[:, None, :, 2]


def sample(
    images: Float[Tensor, "b c H W"],
    matrix: Float[Tensor, "b 2 3"],
    size: tuple[int, int],
    padding: str = "zeros",
) -> Float[Tensor, "b c h w"]:
    """Crops of `size` (h, w), px, in which image point p appears at `matrix` p. Bilinear, differentiable.

    Where an image shrinks by r > 1.5 each crop pixel is the mean of ceil(r) x ceil(r) samples, so that no
    source pixel is skipped. `padding` is "zeros" or "border", for what lies outside the image.
    """
    back = invert(matrix)
    shrinks = back[:, :, :2].detach().det().abs().sqrt().tolist()
    steps = [math.ceil(r) if r > 1.5 else 1 for r in shrinks]
    if len(set(steps)) == 1:
        return _sample(images, back, size, padding, steps[0])
    crops = zip(images.split(1), back.split(1), steps, strict=True)  # as if each were alone
    return torch.cat([_sample(image, own, size, padding, k) for image, own, k in crops])


def _sample(
    images: Float[Tensor, "b c H W"], back: Float[Tensor, "b 2 3"], size: tuple[int, int], padding: str, k: int
) -> Float[Tensor, "b c h w"]:
    (h, w), (height, width) = size, images.shape[-2:]
    in_size, out_size = images.new_tensor((width, height)), images.new_tensor((w, h))
    # affine_grid speaks of pixel edges at -1 and 1 (align_corners=False): u = (2 x + 1) / size - 1.
    centre = back[..., :2] @ ((out_size - 1) / 2) + back[..., 2]
    theta = torch.cat((back[..., :2] * (out_size / in_size[:, None]), ((2 * centre + 1) / in_size - 1)[..., None]), -1)
    grid = F.affine_grid(theta, [len(images), images.shape[1], h * k, w * k], align_corners=False)
    crop = F.grid_sample(images, grid, mode="bilinear", padding_mode=padding, align_corners=False)
    return _means(crop, k) if k > 1 else crop


def _means(x: Float[Tensor, "b c h w"], k: int) -> Tensor:
    """Means of k x k px, as average pooling has them, which takes a CPU twice the time."""
    rows = reduce(torch.add, (x[..., i::k, :] for i in range(k)))
    return reduce(torch.add, (rows[..., i::k] for i in range(k))) / k**2
