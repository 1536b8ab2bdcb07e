"""Colour profiles by which a picture looks otherwise than by sRGB, from the one that LittleCMS writes."""

from __future__ import annotations

import struct

from PIL import ImageCms

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SPACE = slice(16, 20)  # of the header


def _with_space(profile: bytes, space: bytes) -> bytes:
    return profile[: SPACE.start] + space + profile[SPACE.stop :]


def _linear(profile: bytes) -> bytes:
    """Its parametric curve becomes a gamma of 1."""
    at = profile.index(b"para")
    curve = b"para" + struct.pack(">IHHI", 0, 0, 0, 1 << 16)
    return profile[:at] + curve + profile[at + len(curve) :]


# Red and blue have changed places.
SWAPPED = SRGB.replace(b"rXYZ", b"....").replace(b"bXYZ", b"rXYZ").replace(b"....", b"bXYZ")
LINEAR_GREY = _linear(_with_space(SRGB, b"GRAY").replace(b"rTRC", b"kTRC"))
GARBLED = _with_space(SRGB, b"GR\xffY")
CMYK = _with_space(SRGB, b"CMYK")
CUT_OFF = SRGB[:400]
