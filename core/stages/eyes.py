"""Eyes stay the photo's own, with their gaze and light, but not their colour: by that, people are known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.stages.colour import to_lab, to_rgb
from core.stages.decouple import skin_colour
from core.stages.regions import eyeballs

SHOWN = 0.5  # from when on a pixel counts as a part of an eye
DARK, IRIS, WHITE = 10, (25, 60), 90  # percentiles of an eye's lightness: its pupil and lashes; its iris; its white
BLACK = 25.0  # CIELAB lightness below which there is less and less colour to be seen
Face = NDArray[np.float32]  # RGB in [0, 1] (256, 256, 3)
Colour = NDArray[np.floating]  # CIELAB a and b, (2,)


def iris_colour(image: Face, landmarks: NDArray[np.float32]) -> Colour:
    """What open eyes have between pupil and white, as seen from the skin's colour."""
    eyes = to_lab(image[eyeballs(landmarks) > SHOWN])
    low, high = np.percentile(eyes[:, 0], IRIS)
    iris = eyes[(eyes[:, 0] >= low) & (eyes[:, 0] <= high), 1:].mean(0)
    return np.asarray(iris - skin_colour(image, landmarks)[1:])


def recoloured(image: Face, eyes: NDArray[np.float32], colour: Colour) -> Face:
    """The image with irises of that colour in its eyes (256, 256), 0..1, as light as before."""
    shown = eyes > SHOWN
    if not shown.any():
        return image
    place = eyes > 0
    lab, share = to_lab(image[place]), eyes[place]
    light = lab[:, 0]
    dark, white = np.percentile(light[shown[place]], (DARK, WHITE))
    iris = share * np.sqrt(np.clip((white - light) / max(white - dark, 1.0), 0, 1))
    seen = colour * np.minimum(1, light / BLACK)[:, None]
    lab[:, 1:] += iris[:, None] * (seen - lab[:, 1:])
    painted = image.copy()
    painted[place] = to_rgb(lab)
    return painted
