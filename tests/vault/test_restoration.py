"""Bit for bit, or denied."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import RestoreDenied
from core.vault.restoration import (
    MAX_BOXES,
    MAX_COVER,
    MAX_HEADER,
    MAX_VARIANTS,
    Restoration,
    pixel_digest,
    png_bytes,
    read_box,
)
from tests.fakes import picture

ORIGINAL = picture().pixels
BOXES = [(10, 20, 40, 30), (40, 40, 88, 56)]


def altered(seed: int) -> np.ndarray:
    out = ORIGINAL.copy()
    noise = np.random.default_rng(seed)
    for x, y, w, h in BOXES:
        out[y : y + h, x : x + w] = noise.integers(0, 256, (h, w, 3), np.uint8)
    return out


def test_every_variant_comes_back_bit_for_bit() -> None:
    variants = [altered(1), altered(2)]
    again = Restoration.unpack(Restoration.of(ORIGINAL, variants, BOXES).pack())
    for variant in variants:
        assert (again.apply(variant) == ORIGINAL).all()


def test_one_altered_pixel_is_denied() -> None:
    protected = altered(1)
    restoration = Restoration.of(ORIGINAL, [protected], BOXES)
    for y, x in ((0, 0), (25, 15)):
        other = protected.copy()
        other[y, x, 1] ^= 1
        with pytest.raises(RestoreDenied):
            restoration.apply(other)


def test_a_change_outside_the_boxes_is_found_when_protecting() -> None:
    protected = altered(1)
    protected[0, 0] ^= 1
    with pytest.raises(ValueError, match="outside its boxes"):
        Restoration.of(ORIGINAL, [protected], BOXES)


def test_a_restoration_of_another_photo_is_denied() -> None:
    other = picture(seed=9).pixels
    with pytest.raises(RestoreDenied):
        Restoration.of(other, [other], BOXES).apply(altered(1))


def whole(count: int) -> Restoration:
    """A box over the whole photo, so many times."""
    digest = pixel_digest(ORIGINAL)
    return Restoration.unpack(Restoration(((0, 0, ORIGINAL),) * count, digest, (digest,)).pack())


def test_boxes_that_are_more_than_any_photo_has_faces_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (whole(MAX_COVER).apply(ORIGINAL) == ORIGINAL).all()
    monkeypatch.setattr("core.vault.restoration.Image.open", lambda *_, **__: pytest.fail("a box was decoded"))
    with pytest.raises(RestoreDenied):
        whole(MAX_COVER + 1).apply(ORIGINAL)


@pytest.mark.parametrize(("x", "y", "box"), [(1, 0, ORIGINAL), (0, 1, ORIGINAL), (0, 0, np.tile(ORIGINAL, (2, 1, 1)))])
def test_a_box_that_leaves_the_photo_is_not_decoded(
    monkeypatch: pytest.MonkeyPatch, x: int, y: int, box: np.ndarray
) -> None:
    digest = pixel_digest(ORIGINAL)
    restoration = Restoration.unpack(Restoration(((x, y, box),), digest, (digest,)).pack())
    monkeypatch.setattr("core.vault.restoration.Image.open", lambda *_, **__: pytest.fail("a box was decoded"))
    with pytest.raises(RestoreDenied):
        restoration.apply(ORIGINAL)


def test_boxes_are_decoded_one_after_another() -> None:
    """Sixteen of a large photo, all at once, would be gigabytes."""
    seen: list[int] = []
    pixels = whole(3).apply(ORIGINAL, lambda png: seen.append(len(png)) or ORIGINAL)  # type: ignore[func-returns-value]
    assert (pixels == ORIGINAL).all()
    assert len(seen) == 3


def test_a_box_with_two_sizes_is_denied() -> None:
    small, large = png_bytes(ORIGINAL[:8, :8]), png_bytes(ORIGINAL)
    head = 8 + 25  # signature and IHDR
    assert struct.unpack_from(">I4s", small, 8) == (13, b"IHDR")
    with pytest.raises(RestoreDenied):
        read_box(small[:head] + large[8:])


def packed(boxes: int = 1, variants: int = 1, header: int = 0) -> bytes:
    """A restoration with so many of these, and a header of so many bytes."""
    digest = "0" * 64
    said = {"boxes": [(0, 0, 1)] * boxes, "original_sha256": digest, "protected_sha256": [digest] * variants}
    text = json.dumps(said).encode().ljust(header)
    return struct.pack(">I", len(text)) + text + bytes(boxes)


@pytest.mark.parametrize(("what", "most"), [("boxes", MAX_BOXES), ("variants", MAX_VARIANTS), ("header", MAX_HEADER)])
def test_more_than_an_honest_restoration_has_is_denied(what: str, most: int) -> None:
    Restoration.unpack(packed(**{what: most}))
    with pytest.raises(RestoreDenied):
        Restoration.unpack(packed(**{what: most + 1}))


@given(st.binary(max_size=200))
def test_noise_is_denied(noise: bytes) -> None:
    with pytest.raises(RestoreDenied):
        Restoration.unpack(noise)


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_corrupted_restoration_never_gives_wrong_pixels(position: int, value: int) -> None:
    protected = altered(1)
    packed = bytearray(Restoration.of(ORIGINAL, [protected], BOXES).pack())
    packed[position % len(packed)] = value
    try:
        result = Restoration.unpack(bytes(packed)).apply(protected)
    except RestoreDenied:
        return
    assert (result == ORIGINAL).all()
