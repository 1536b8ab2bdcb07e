"""Put the inside of a persona's face into a photo: in its pose, shape, light and sharpness, behind what is in front."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from core.networks import Persona
from core.stages.beard import beard, bearded
from core.stages.colour import grey, luminance, monochrome
from core.stages.decouple import HAIR, hair_above, skin_colour, skin_likeness
from core.stages.eyes import Colour, iris_colour, recoloured
from core.stages.light import Tone, as_deep_as, as_smooth_as, lit, shading
from core.stages.lips import Lips
from core.stages.pose import Numbers, Points, Pose
from core.stages.regions import (
    LEAST_TURN,
    around,
    eye_distance,
    face_mask,
    features_mask,
    lines_mask,
    openings_mask,
    skin_mask,
)
from core.stages.register import drawing, registered
from core.stages.shape import heights, levelled, origins, sampled, taken, target_landmarks

LINE_SIGMA = 1.2  # px; detail finer than this is what a sharper lens shows more of
CRISPER = 2.0  # how many times as much of it a persona may be given
SOFT = 2.0  # px, of the edge between lines and the skin beside them, which is smoothed
DIM = 0.005  # of black to white: light below it is mostly noise
SHADE = 60.0  # CIELAB lightness: how much darker than the cheeks skin may be in a photo of any light
Face = NDArray[np.float32]  # RGB in [0, 1] (256, 256, 3)


@dataclass(frozen=True, slots=True)
class Setting:
    """The face that personas are put into, and what of it is the same for all of them.

    landmarks: (5, 2) px. inside: of its outline; bare: where it is to be seen; eyes: between its lids, where they stay;
    skin: how much each pixel has its colour, in whatever light; plain: neither eyes nor lips; beard: where it has one;
    all (256, 256), 0..1. tone: of its skin; cheeks: these alone. lips: its own. monochrome: whether it has a colour by
    lightness alone. drawn: its lines, (256, 256). angle: radians, to which it is turned. heights: of its features.
    """

    picture: Face
    landmarks: NDArray[np.float32]
    inside: NDArray[np.float32]
    bare: NDArray[np.float32]
    eyes: NDArray[np.float32]
    skin: NDArray[np.float32]
    plain: NDArray[np.float32]
    beard: NDArray[np.float32]
    tone: Tone
    cheeks: Colour
    lips: Lips
    monochrome: bool
    drawn: NDArray[np.float32]
    angle: float
    heights: Numbers

    @classmethod
    def of(
        cls,
        picture: Face,
        landmarks: NDArray[np.float32],
        covered: NDArray[np.float32],
        eyes: NDArray[np.float32] | None = None,
        flushed: bool = True,
        shaven: bool = False,
    ) -> Setting:
        """A face that stays as it is where it is `covered`, and in all but colour between the lids of its `eyes`,
        (256, 256), 0..1; and if it is `flushed`, as red from place to place. A `shaven` one has no beard, however rough
        it is around its mouth."""
        inside, bare = face_mask(landmarks, hidden=LEAST_TURN), 1 - covered
        skin, plain = skin_likeness(picture, landmarks, SHADE), 1 - openings_mask(landmarks)
        none = np.zeros_like(bare)
        return cls(
            picture=picture,
            landmarks=landmarks,
            inside=inside,
            bare=bare,
            eyes=none if eyes is None else eyes * bare,
            skin=skin,
            plain=plain,
            beard=none if shaven else beard(picture, landmarks, plain * bare, inside),
            tone=Tone.of(picture, inside * bare * skin * plain, flushed),
            cheeks=skin_colour(picture, landmarks)[1:],
            lips=Lips.of(picture, landmarks, bare),
            monochrome=monochrome(picture),
            drawn=drawing(picture, inside * bare),
            angle=Pose.of(landmarks).angle,
            heights=heights(picture, landmarks, covered),
        )


def compose(setting: Setting, persona: Persona) -> Iterator[Face]:
    """The face with the inside of the persona's, less and less like it: first registered to it, then with brows and
    nostrils as high as its own, then as high as the persona's. Its hair stays behind."""
    target = target_landmarks(setting.landmarks, persona.landmarks)
    image = np.asarray(persona.image / 255, np.float32)
    irises = iris_colour(image, persona.landmarks) + setting.cheeks
    if not setting.monochrome:
        setting = replace(setting, picture=recoloured(setting.picture, setting.eyes, irises))
    points = origins(persona.landmarks, target, setting.angle)
    level = levelled(points, target, setting.heights, heights(sampled(image, points), target))
    mask, span = setting.inside * setting.bare, eye_distance(setting.landmarks)
    nearer = registered(level, drawing(sampled(image, level), mask), setting.drawn, mask, span)
    for way in (nearer, level, points):
        yield _inside(setting, image, way, target)


def _inside(setting: Setting, image: Face, points: Points, target: NDArray[np.float32]) -> Face:
    """The face with what comes from `points` of an image, whose landmarks come to be at the target."""
    picture = taken(image, points)
    skin = skin_likeness(picture, target, HAIR)
    bare = np.minimum(setting.bare, 1 - around(hair_above(skin, target)))
    mask = setting.inside * bare
    here, there = _lights(setting, picture, target, bare, skin)
    worn = as_sharp_as(setting.picture, setting.landmarks, picture, target)
    worn = as_deep_as(setting.picture, lit(worn, (here + DIM) / (there + DIM), there), mask)
    known = skin_mask(setting.landmarks) * bare * setting.skin
    lines = np.maximum(lines_mask(setting.landmarks), lines_mask(target))
    worn = as_smooth_as(setting.picture, worn, known, mask * gaussian_filter(1 - lines, SOFT))
    if setting.monochrome:
        worn = setting.tone.at(luminance(worn))
    else:
        worn = setting.lips.on(setting.tone.given(worn, setting.plain), target, Lips.of(picture, target, bare))
    worn = bearded(worn, setting.picture, setting.beard)
    mixed = setting.picture + (mask * (1 - setting.eyes))[..., None] * (worn - setting.picture)
    return np.asarray(np.clip(mixed, 0, 1), np.float32)


def _lights(
    setting: Setting,
    picture: Face,
    target: NDArray[np.float32],
    bare: NDArray[np.float32],
    skin: NDArray[np.float32],
) -> tuple[Face, Face]:
    """Of the face and of a picture in its place, where both show skin: dark brows, lips and hair are no shadow to be
    handed on."""
    features = np.maximum(features_mask(setting.landmarks), features_mask(target))
    inside = face_mask(setting.landmarks, feather=0.5, hidden=LEAST_TURN) * (1 - features)
    return shading(setting.picture, inside * bare * setting.skin), shading(picture, inside * skin)


def as_sharp_as(source: Face, landmarks: NDArray[np.float32], image: Face, marks: NDArray[np.float32]) -> Face:
    """The image with eyes, brows and lips as sharp as those of the source; sharper ones stay.

    Softer than the hair around them they look painted. Skin is left alone: there pores and noise are as fine.
    """
    here, there = lines_mask(landmarks), lines_mask(marks)
    fine = image - gaussian_filter(image, (LINE_SIGMA, LINE_SIGMA, 0))
    fine_source = source - gaussian_filter(source, (LINE_SIGMA, LINE_SIGMA, 0))
    wanted = (grey(np.square(fine_source)) * here).sum() / here.sum()
    shown = (grey(np.square(fine)) * there).sum() / there.sum()
    amount = np.clip(np.sqrt(wanted / max(shown, 1e-9)), 1, CRISPER) - 1
    return np.asarray(image + amount * gaussian_filter(there, 3.0)[..., None] * fine, np.float32)
