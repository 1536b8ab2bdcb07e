"""Light and contrast that a persona takes from the photo it comes into."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from core.objectives import LUMA
from core.stages.align import SIDE
from core.stages.light import DEEPER, SMOOTHEST, Tone, as_deep_as, as_smooth_as, shading

MASK = np.ones((SIDE, SIDE), np.float32)


def picture(contrast: float) -> NDArray[np.float32]:
    """Blotches as large as eyes and lips, the same ones whatever their contrast."""
    noise = gaussian_filter(np.random.default_rng(7).standard_normal((SIDE, SIDE)), 6.0)
    return np.repeat(0.5 * np.exp(contrast * noise / noise.std())[..., None], 3, 2).astype(np.float32)


def contrast(image: NDArray[np.float32]) -> float:
    """Against the light: what is coarser is the photo's in any case."""
    return float((np.log(image) - np.log(shading(image, MASK))).std())


def test_a_flat_picture_becomes_deeper_and_not_more_so_than_the_photo() -> None:
    """What is as fine as wrinkles is left as it was, so it comes about half way."""
    flat, photo = contrast(picture(0.10)), contrast(picture(0.13))
    made = contrast(as_deep_as(picture(0.13), picture(0.10), MASK))
    assert flat + 0.4 * (photo - flat) < made < photo


def test_a_deep_picture_stays_as_it_is() -> None:
    deep = picture(0.13)
    np.testing.assert_allclose(as_deep_as(picture(0.10), deep, MASK), deep, atol=1e-6)


def test_fog_is_not_torn_open() -> None:
    """What a photo has and a picture lacks altogether cannot be drawn darker than DEEPER allows."""
    fog = picture(0.01)
    assert contrast(as_deep_as(picture(0.4), fog, MASK)) < DEEPER * contrast(fog)


def rough(contrast: float) -> NDArray[np.float32]:
    """Grain as fine as pores."""
    noise = np.random.default_rng(7).standard_normal((SIDE, SIDE))
    return np.repeat(0.5 * np.exp(contrast * noise)[..., None], 3, 2).astype(np.float32)


def roughness(image: NDArray[np.float32]) -> float:
    return float(np.log(image).std())


def test_skin_becomes_as_smooth_as_the_photo_s_where_it_is_skin_and_no_smoother_than_it_may() -> None:
    left = MASK * (np.arange(SIDE) < SIDE // 2)
    made = as_smooth_as(rough(0.06), rough(0.10), MASK, left)
    assert abs(roughness(made[:, :100]) - 0.06) < 0.01
    np.testing.assert_allclose(made[:, 140:], rough(0.10)[:, 140:], rtol=1e-6)
    burnt_out = as_smooth_as(rough(0.0), rough(0.10), MASK, MASK)
    assert abs(roughness(burnt_out) - SMOOTHEST * 0.10) < 0.01


def test_skin_is_made_no_rougher_and_stays_where_the_photo_shows_none() -> None:
    np.testing.assert_allclose(as_smooth_as(rough(0.2), rough(0.1), MASK, MASK), rough(0.1), rtol=1e-6)
    np.testing.assert_array_equal(as_smooth_as(rough(0.0), rough(0.1), 0 * MASK, MASK), rough(0.1))


def test_light_is_known_beside_what_is_masked_and_far_from_what_is_not() -> None:
    image = np.full((SIDE, SIDE, 3), 0.5, np.float32)
    image[:, 100:] = 0.0
    mask = MASK.copy()
    mask[:, 100:] = 0
    assert np.abs(shading(image, mask)[:, :120] - 0.5).max() < 0.01


def painted(*halves: tuple[float, float, float]) -> NDArray[np.float32]:
    """The upper half of one colour, the lower one of another."""
    return np.repeat(np.asarray(halves, np.float32), SIDE // 2, 0)[:, None].repeat(SIDE, 1)


def test_skin_takes_the_colour_that_the_photo_s_has_in_such_light() -> None:
    bright, shade = (0.80, 0.62, 0.50), (0.40, 0.27, 0.21)
    photo = painted(bright, shade)
    pale = 0.7 * photo + 0.3 * (photo @ np.float32(LUMA))[..., None]
    toned = Tone.of(photo, MASK).given(pale, MASK)
    for y in (64, 192):
        assert np.abs(toned - photo)[y].max() < 0.5 * np.abs(pale - photo)[y].max()
    np.testing.assert_allclose(toned @ np.float32(LUMA), pale @ np.float32(LUMA), atol=1e-4)


def test_highlights_of_a_skin_take_its_colour_and_what_is_no_skin_keeps_its_own() -> None:
    """In yellow light a persona's pale nose would be blue."""
    yellow = (0.90, 0.80, 0.62)
    photo = painted(yellow, (0.45, 0.38, 0.27))
    others = painted((0.86, 0.80, 0.72), (0.10, 0.20, 0.60))
    toned = Tone.of(photo, MASK).given(others, MASK)
    assert np.abs(toned - photo)[64].max() < 0.03
    np.testing.assert_allclose(toned[192], others[192], atol=0.03)


def test_cheeks_stay_as_red_as_the_photo_s_in_the_light_of_its_forehead() -> None:
    """One light, two colours: by lightness alone both would be given what lies between."""
    forehead, cheeks = (0.70, 0.60, 0.54), (0.76, 0.58, 0.56)
    photo = painted(forehead, cheeks)
    photo *= 0.6 / (photo @ np.float32(LUMA))[..., None]
    even = 0.5 * (photo + photo[::-1])
    flushed = Tone.of(photo, MASK).given(even, MASK)
    for y in (64, 192):
        assert np.abs(flushed - photo)[y].max() < 0.2 * np.abs(even - photo)[y].max()
    np.testing.assert_allclose(flushed @ np.float32(LUMA), even @ np.float32(LUMA), atol=1e-4)
    np.testing.assert_allclose(Tone.of(photo, MASK, flushed=False).given(even, MASK), even, atol=0.01)


def test_what_is_no_skin_keeps_its_colour_and_so_does_what_is_not_asked_for() -> None:
    tone = Tone.of(painted((0.8, 0.6, 0.5), (0.8, 0.6, 0.5)), MASK)
    blue = painted((0.2, 0.4, 0.8), (0.2, 0.4, 0.8))
    np.testing.assert_allclose(tone.given(blue, MASK), blue, atol=1e-3)
    pale = painted((0.6, 0.6, 0.55), (0.6, 0.6, 0.55))
    np.testing.assert_array_equal(tone.given(pale, 0 * MASK), pale)


def test_a_face_without_skin_has_a_tone_all_the_same() -> None:
    black = painted((0, 0, 0), (0, 0, 0))
    np.testing.assert_allclose(Tone.of(black, 0 * MASK).given(black, MASK), black, atol=1e-6)
