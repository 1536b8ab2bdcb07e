"""Differentiable losses, one equation a function. All images RGB in [0, 1] (B, 3, H, W); results are (B,)."""

from __future__ import annotations

from functools import cached_property, lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
STABILISER = 0.03**2 / 2  # C2/2 of SSIM for a dynamic range of 1
LINES, GRAIN = 7, 1e-4  # px, windows as narrow as lids and brows; variance of luminance that noise has, not drawing
FINE, NEIGHBOURHOOD = 9, 11  # px, windows of texture: detail is what is finer than the first
STRIDE = 2  # px between windows of structure
COARSE = 4  # px, to see shapes rather than lines
NOTICEABLE = 2 / 255  # luminance that shows on skin without any texture


def margin_shortfall(cosines: Float[Tensor, "k ..."], margin: Float[Tensor, "k ..."]) -> Float[Tensor, "k ..."]:
    """[m - cos]_+: nothing is gained beyond the margin, because going on ruins the picture."""
    return F.relu(margin - cosines)


def ensemble_weights(shortfall: Float[Tensor, "k ..."], tau: float) -> Float[Tensor, "k ..."]:
    """softmax over the encoders of [m - cos]_+ / tau: the encoder that lags gets the gradient."""
    return torch.softmax(shortfall.detach() / tau, 0)


def luminance(x: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 1 H W"]:
    """Weighted mean of the channels (Rec. 601)."""
    return (x * x.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)


class Picture:
    """Pictures, and what comparisons need of them, each worked out once: one is compared with many, or in many ways."""

    def __init__(self, images: Float[Tensor, "b 3 H W"]) -> None:
        self.images = images
        self._windows: dict[int, tuple[Tensor, Tensor]] = {}

    @classmethod
    def of(cls, x: Images) -> Picture:
        return x if isinstance(x, Picture) else cls(x)

    @cached_property
    def luminance(self) -> Float[Tensor, "b 1 H W"]:
        return luminance(self.images)

    def moments(self, window: int) -> tuple[Float[Tensor, "b 1 h w"], Float[Tensor, "b 1 h w"]]:
        """Mean and variance of luminance in windows of so many px."""
        if window not in self._windows:
            mean, squared = (box_means(v, window, STRIDE) for v in (self.luminance, self.luminance**2))
            self._windows[window] = mean, (squared - mean**2).clamp_min(0)
        return self._windows[window]

    @cached_property
    def detail(self) -> Float[Tensor, "b 1 H W"]:
        """What of luminance is finer than FINE px."""
        return self.luminance - _box(self.luminance, FINE)

    @cached_property
    def noticeable(self) -> Float[Tensor, "b 1 H W"]:
        """How strong detail must be to show in what detail there is around it."""
        return (NOTICEABLE**2 + _box(self.detail**2, NEIGHBOURHOOD)).sqrt()


Images = Picture | Float[Tensor, "b 3 H W"]


def structure_map(x: Images, y: Images, window: int = 11, stabiliser: float = STABILISER) -> Float[Tensor, "b 1 h w"]:
    """Structure term of SSIM, (cov_xy + C) / (sd_x sd_y + C), on luminance in box windows; in [-1, 1].

    Blind to brightness and contrast, so it compares what is drawn, not how it is lit
    (Wang et al. 2004, equation 10).
    """
    x, y = Picture.of(x), Picture.of(y)
    (mean_x, variance_x), (mean_y, variance_y) = x.moments(window), y.moments(window)
    together = box_means(x.luminance * y.luminance, window, STRIDE) - mean_x * mean_y
    spread = (variance_x * variance_y + 1e-12).sqrt()
    return (together + stabiliser) / (spread + stabiliser)


def structure(x: Images, y: Images, mask: Float[Tensor, "b 1 H W"], window: int = 11) -> Float[Tensor, " b"]:
    """Mean structural similarity inside a mask, in [-1, 1]; 1 is the same drawing."""
    return _mean_inside(structure_map(x, y, window), mask, window)


def likeness(x: Images, y: Images, features: Float[Tensor, "b 1 H W"]) -> Float[Tensor, " b"]:
    """How alike two faces on the same landmarks are drawn, in [-1, 1]: structure where people are told apart
    (`Appearance.features`), line by line.

    In `structure`, smooth skin is alike in all people, and most of a face is skin. By that, two photos of a person are
    more alike than a photo and a persona that fits it 74 times of 100, by this 86 times.
    """
    return _mean_inside(structure_map(x, y, LINES, GRAIN), features, LINES)


def _mean_inside(values: Float[Tensor, "b 1 h w"], mask: Float[Tensor, "b 1 H W"], window: int) -> Float[Tensor, " b"]:
    """Mean of a map over such windows, weighted by what each has of the mask."""
    weight = box_means(mask, window, STRIDE)
    return (values * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp_min(1e-6)


def visual_distance(x: Images, y: Images, mask: Float[Tensor, "b 1 H W"]) -> Float[Tensor, " b"]:
    """V: what an eye sees differ inside a mask: 1 - structure, and ten times the mean absolute difference."""
    x, y = Picture.of(x), Picture.of(y)
    colour = ((x.images - y.images).abs() * mask).sum((1, 2, 3)) / (3 * mask.sum((1, 2, 3)).clamp_min(1e-6))
    return 1 - structure(x, y, mask) + 10 * colour


def perceived_distance(
    x: Images, y: Images, mask: Float[Tensor, "b 1 H W"], regions: Float[Tensor, "b 1 H W"]
) -> Float[Tensor, " b"]:
    """V of two pictures of one person: by facial region, over the whole face, and over its coarse shape, which
    windows of a few pixels do not see: a broader nose, another frown."""
    x, y = Picture.of(x), Picture.of(y)
    coarse = (F.avg_pool2d(v, COARSE) for v in (x.images, y.images, mask))
    return visual_distance(x, y, regions) + visual_distance(x, y, mask) + visual_distance(*coarse)


def texture_change(x: Images, y: Images, mask: Float[Tensor, "b 1 H W"]) -> Float[Tensor, " b"]:
    """How visibly the fine detail of `x` departs from that of `y` inside a mask; 1 is about just noticeable.

    Detail hides in detail: a change counts by its share of what `y` shows around it, so that freckles on smooth
    skin are dear and the same change in a brow is cheap (texture masking, Chou and Li 1995).
    """
    x, y = Picture.of(x), Picture.of(y)
    weight = mask / y.noticeable
    # Mean over the mask in units of NOTICEABLE, as if all skin were smooth.
    return ((x.detail - y.detail).abs() * weight).sum((1, 2, 3)) / (weight.sum((1, 2, 3)) * NOTICEABLE).clamp_min(1e-6)


def prominence(x: Images, y: Images) -> Float[Tensor, " b"]:
    """How much the strongest places of a change stand out: its fourth-power mean, coarser than lines, in units of
    NOTICEABLE.

    The same change spread over a face is hardly seen; drawn as strokes on a brow or a nose it is what one sees first.
    """
    coarse = F.avg_pool2d(Picture.of(x).luminance - Picture.of(y).luminance, COARSE)
    return ((coarse / NOTICEABLE) ** 4).mean((1, 2, 3)).add(1e-8) ** 0.25


def resurfacing(
    x: Images, source: Images, start: Float[Tensor, "b 1 h w"], mask: Float[Tensor, "b 1 H W"]
) -> Float[Tensor, " b"]:
    """How much more of the source's drawing `x` shows than the start did: [s(x, source) - s(start, source)]_+.

    start: the second term, `structure_map` of start and source.

    The cheapest way back to the source's identity is to draw the source's brows again; this closes it, and
    asks no recognition network.
    """
    return _mean_inside(F.relu(structure_map(x, source) - start), mask, 11)


def attention_change(maps: list[Tensor], before: list[Tensor], batch: int) -> Float[Tensor, " b"]:
    """A: how far self-attention maps, (B heads, n, n) each, depart from what they were, in shares of that; mean over
    layers and steps, so that networks of any depth can be compared."""
    changes = [
        ((a - b) ** 2).view(batch, -1).sum(1) / (b**2).view(batch, -1).sum(1) for a, b in zip(maps, before, strict=True)
    ]
    return torch.stack(changes).mean(0)


def box_means(x: Float[Tensor, "b 1 H W"], window: int, stride: int = 1, padding: int = 0) -> Float[Tensor, "b 1 h w"]:
    """Means over square windows, as average pooling has them; over a border, of what there is of the window.

    Two products with narrow matrices: a CPU has them in a third of the time that it takes to pool.
    """
    down, across = (_windows(n, window, stride, padding, x.dtype, x.device) for n in x.shape[-2:])
    return down @ x @ across.T


@lru_cache(maxsize=64)
def _windows(
    length: int, window: int, stride: int, padding: int, dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "windows length"]:
    """A row for each window on a line: the weights of its mean."""
    first = torch.arange(-padding, length + padding - window + 1, stride)[:, None]
    place = torch.arange(length)
    inside = ((place >= first) & (place < first + window)).to(device, dtype)
    return inside / inside.sum(1, keepdim=True)


def _box(x: Float[Tensor, "b 1 H W"], window: int) -> Float[Tensor, "b 1 H W"]:
    """Mean over an odd window around each pixel."""
    return box_means(x, window, padding=window // 2)
