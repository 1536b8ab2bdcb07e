"""Light, colour and contrast of one picture of a face, for another."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.transform import downscale_local_mean

from core.stages.colour import grey, luminance, over_channels
from core.stages.decouple import to_arrays

LIGHT_SIGMA = 6.0  # px; shading coarser than this is the photo's, finer detail the persona's
FAR_SIGMA = 14.0  # px; from so far around light is taken where next to nothing nearer is inside the mask,
SEEN = 0.1  # which is this share of it
LIGHT_GRID = 4  # px; so coarse a light needs no finer grid, and a coarse one takes a quarter of the time
LIGHT_RANGE = (0.05, 3.0)  # how far the persona may be brightened or darkened to fit
DEEPER = 1.5  # how many times as dark its features may be drawn against the light around them
WRINKLE = 2.5  # px; detail finer than this is not drawn darker: it would only make a persona older
PORE, SMOOTHEST = 2.0, 0.35  # px; skin is rough by what is finer; the share of it that a persona keeps in any case
SAMPLE = 50  # px of skin at least by which it is known how rough it is
TONES, TONE_SIGMA = 41, 2.0  # steps of luminance at which a skin's colour is known, and how far each goes by others
LIKE, BLACK = 0.4, 0.02  # how far off a colour may be that is skin's, as a share of luminance; what is black has none


def shading(image: NDArray[np.float32], mask: NDArray[np.float32]) -> NDArray[np.float32]:
    """Light and colour coarser than LIGHT_SIGMA inside the mask (normalised convolution)."""
    weighed = downscale_local_mean(np.dstack((image * mask[..., None], mask)), (LIGHT_GRID, LIGHT_GRID, 1))
    near, far = (gaussian_filter(weighed, (s / LIGHT_GRID, s / LIGHT_GRID, 0)) for s in (LIGHT_SIGMA, FAR_SIGMA))
    spread = near + SEEN * far / (far[..., 3:] + 1e-4)
    light = torch.from_numpy(spread[..., :3] / (spread[..., 3:] + 1e-4)).permute(2, 0, 1)[None]
    return np.asarray(to_arrays(F.interpolate(light, scale_factor=LIGHT_GRID, mode="bilinear"))[0])


def lit(image: NDArray[np.float32], light: NDArray[np.float32], skin: NDArray[np.float32]) -> NDArray[np.float32]:
    """The image (256, 256, 3) in the light given as a ratio; the ratio's colour is for what has the skin's colour.

    Whites of eyes and teeth are grey: they take the brightness only, or they would turn blue where pale skin
    replaces ruddy.
    """
    light = np.clip(light, *LIGHT_RANGE)
    brightness = grey(light)[..., None]
    share = np.clip(_saturation(image) / (_saturation(skin) + 1e-3), 0, 1)
    return np.asarray(image * brightness * (light / brightness) ** share, np.float32)


@dataclass(frozen=True, slots=True)
class Tone:
    """The colour of a skin by how light it is in its photo: shadows are redder than what the light falls on.

    colours: (TONES, 3), as shares of their luminance, from black to white. flush: how much redder, yellower or bluer
    the skin is at each place than that, (256, 256, 3): cheeks and noses are redder than foreheads in the same light.
    """

    colours: NDArray[np.float64]
    flush: NDArray[np.float32]

    @classmethod
    def of(cls, image: NDArray[np.float32], skin: NDArray[np.float32], flushed: bool = True) -> Tone:
        """Of an image (256, 256, 3) where it is skin (256, 256), 0..1; everywhere the same unless it is `flushed`."""
        light = luminance(image)
        step = np.rint(light.clip(0, 1) * (TONES - 1)).astype(int).ravel()
        layers = np.dstack((image, light)).reshape(-1, 4).T
        sums = np.stack([np.bincount(step, skin.ravel() * layer, TONES) for layer in layers], 1)
        # Lightness that this skin does not have gets a little of what it has.
        sums = gaussian_filter(sums, (TONE_SIGMA, 0)) + 0.002 * sums.sum(0) + 1e-6
        plain = cls(sums[:, :3] / sums[:, 3:], np.zeros_like(image))
        if not flushed:
            return plain
        off = (image - plain.at(light)) / (light[..., None] + BLACK)
        return replace(plain, flush=shading(off, skin))

    def at(self, light: NDArray[np.float32]) -> NDArray[np.float32]:
        """The colour of each place where it is as light as this, (256, 256) to (256, 256, 3)."""
        steps = np.linspace(0, 1, TONES)
        known = np.dstack([np.interp(light, steps, c) for c in self.colours.T])
        return np.asarray((known + self.flush) * light[..., None], np.float32)

    def given(self, image: NDArray[np.float32], mask: NDArray[np.float32]) -> NDArray[np.float32]:
        """The image with this colour inside the mask wherever its own is much like it, as light as it was."""
        light = luminance(image)
        colour = self.at(light)
        off = over_channels(np.add, np.square((image - colour) / (LIKE * light[..., None] + BLACK)))
        share = mask * gaussian_filter(np.exp(-off), 1.0)
        return np.asarray(image + share[..., None] * (colour - image), np.float32)


def _saturation(image: NDArray[np.float32]) -> NDArray[np.float32]:
    top, bottom = (over_channels(end, image)[..., None] for end in (np.maximum, np.minimum))
    return np.asarray((top - bottom) / (top + 1e-3), np.float32)


def as_deep_as(
    source: NDArray[np.float32], image: NDArray[np.float32], mask: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The image (256, 256, 3) with as much contrast inside the mask (256, 256) as the source; it is not made flatter.

    A mean of six faces is: in a photo of hard light or strong make-up it looks as if seen through fog.
    """
    depth, own = (_relief(x, mask) for x in (source, image))
    ratio = np.sqrt((depth**2 * mask).sum() / max((own**2 * mask).sum(), 1e-9))
    deeper = (np.clip(ratio, 1, DEEPER) - 1) * gaussian_filter(own, WRINKLE)
    return np.asarray(image * np.exp(deeper)[..., None], np.float32)


def as_smooth_as(
    source: NDArray[np.float32], image: NDArray[np.float32], skin: NDArray[np.float32], where: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The image (256, 256, 3) with as little fine detail, `where` it is skin, as the source has, but SMOOTHEST of its
    own at least; it is made no rougher.

    Cameras smooth skin and hard light burns it out: pores would look like a rash there. `skin`: where both are known to
    show some; both (256, 256), 0..1.
    """
    known = skin > 0.5
    if known.sum() < SAMPLE:
        return image
    wanted, shown = (_pores(x) for x in (source, image))
    ratio = np.median(np.abs(wanted[known])) / max(float(np.median(np.abs(shown[known]))), 1e-6)
    return np.asarray(image * np.exp((np.clip(ratio, SMOOTHEST, 1) - 1) * where * shown)[..., None], np.float32)


def _pores(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """How much lighter (logarithm) each place is than what lies next to it."""
    light = _logarithm(image)
    return np.asarray(light - gaussian_filter(light, PORE), np.float32)


def _relief(image: NDArray[np.float32], mask: NDArray[np.float32]) -> NDArray[np.float32]:
    """How much lighter (logarithm) each place is than what lies around it inside the mask."""
    return np.asarray(_logarithm(image) - _logarithm(shading(image, mask)), np.float32)


def _logarithm(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of how light each place is; what is nearly black is all the same."""
    return np.asarray(np.log(grey(image).clip(0, 1) + 0.03))
