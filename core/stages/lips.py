"""Lips have the colour that they have in the photo: who is made up there is made up all over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from core.stages.colour import to_lab, to_rgb
from core.stages.decouple import skin_colour
from core.stages.regions import mouth_mask

INSIDE, FAINT = 0.5, 0.01  # of a mouth's mask: from when on a pixel is surely in it, or may be
YELLOW = 0.5  # how much CIELAB b counts against a: what is yellow beside a mouth is hair, and in it teeth
REDDEST, SURELY = 85, 0.6  # percentile of a mouth's redness that is lip; share of that from when on a pixel is
PALE = 3.0, 7.0  # redness up to which lips are not told from skin, and from when on they are
DARKER = 12.0  # CIELAB lightness by which lips are made lighter or darker, at most
SOFT = 1.0  # px
Face = NDArray[np.float32]  # RGB in [0, 1] (256, 256, 3)


@dataclass(frozen=True, slots=True)
class Lips:
    """where: they are (256, 256), 0..1. distinct: how well they are told from skin, 0..1. colour: CIELAB, as seen from
    the skin's, (3,)."""

    where: NDArray[np.float32]
    distinct: float
    colour: NDArray[np.floating]

    @classmethod
    def of(cls, image: Face, landmarks: NDArray[np.float32], bare: NDArray[np.float32]) -> Lips:
        """What of a mouth is redder than the skin, as far as it is `bare`, (256, 256), 0..1."""
        mouth = mouth_mask(landmarks) * bare
        place, where = mouth > FAINT, np.zeros_like(mouth)
        off = to_lab(image[place]) - skin_colour(image, landmarks)
        red, inside = off[:, 1] - YELLOW * off[:, 2], mouth[place] > INSIDE
        if not inside.any():
            return cls(where, 0.0, np.zeros(3))
        reddest = float(np.percentile(red[inside], REDDEST))
        share = np.clip(red / max(reddest, PALE[0]), 0, 1)
        surely = inside & (share > SURELY)
        where[place] = share * mouth[place]
        distinct = float(np.clip((reddest - PALE[0]) / (PALE[1] - PALE[0]), 0, 1))
        return cls(gaussian_filter(where, SOFT), distinct, off[surely].mean(0) if surely.any() else np.zeros(3))

    def on(self, image: Face, landmarks: NDArray[np.float32], own: Lips) -> Face:
        """The image with lips of this colour where it has its `own`."""
        place = own.where > 0
        if not place.any():
            return image
        lab, share = to_lab(image[place]), own.where[place]
        surely = share > SURELY
        if not surely.any():
            return image
        shift = self.colour - (lab[surely].mean(0) - skin_colour(image, landmarks))
        shift[0] = np.clip(shift[0], -DARKER, DARKER)
        painted = image.copy()
        painted[place] = to_rgb(lab + (self.distinct * own.distinct * share)[:, None] * shift)
        return painted
