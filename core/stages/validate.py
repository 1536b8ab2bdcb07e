"""Bytes of an upload -> Photo. The first stage, torch-free, and the only one that meets hostile input."""

from __future__ import annotations

import io
import re
import struct
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from core.errors import PhotoRefused
from core.vault.restoration import pixel_digest, png_bytes

# An encoder makes a dozen scans at most; each costs the decoder a walk over the whole picture, whatever it holds.
MAX_SCANS = 64
MAX_PIECES = 20_000  # segments or chunks; honest ones are some kB long
MARKER = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]")  # of a segment, or the end; not what entropy-coded data may hold
# First bytes of the formats we accept, and the only decoder Pillow may then use.
MAGIC = ((b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"RIFF", "WEBP"))


@dataclass(frozen=True, slots=True)
class Photo:
    """pixels: uint8 (H, W, 3) RGB, upright, without metadata."""

    pixels: NDArray[np.uint8]

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def sha256(self) -> str:
        """Hex digest of size and pixels: the same for the same picture, whatever the file."""
        return pixel_digest(self.pixels)

    def to_png(self) -> bytes:
        """A lossless PNG without metadata."""
        return png_bytes(self.pixels)


@dataclass(frozen=True, slots=True)
class Limits:
    """max_bytes of the file; max_pixels of the picture; min_side, px."""

    max_bytes: int = 20 * 2**20
    max_pixels: int = 40_000_000
    min_side: int = 64


def read_photo(data: bytes, limits: Limits | None = None) -> Photo:
    """Decode an uploaded photo: JPEG, PNG or WebP; EXIF orientation applied, all metadata dropped.

    Gray and palette pictures become RGB; an alpha channel that is opaque everywhere is dropped.

    Raises:
        PhotoRefused: empty, too large or small, another format, damaged, animated, CMYK, 16-bit, transparent.
    """
    return Photo(np.array(decode(data, limits), dtype=np.uint8))


def decode(data: bytes, limits: Limits | None = None) -> Image.Image:
    """As `read_photo`, for who only wants to know whether it can be read."""
    limits = limits or Limits()
    if not data:
        raise PhotoRefused("the photo is empty (0 bytes)", code="photo_empty")
    if len(data) > limits.max_bytes:
        raise PhotoRefused(
            f"the photo has more than the {limits.max_bytes} bytes that are accepted",
            code="photo_too_large",
        )
    name = _format_of(data)
    if (name == "JPEG" and not _plain_jpeg(data)) or (name == "PNG" and not _plain_png(data)):
        message = f"the photo is stored in far too many pieces; save it again as a plain {name}"
        raise PhotoRefused(message, code="photo_too_complex")
    image = _open(data, name, limits)
    _check_mode(image, data)
    try:
        # The size in the header is checked by now: this is where memory is taken.
        image.load()
        upright = ImageOps.exif_transpose(image)
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        raise PhotoRefused("the photo is damaged or cut off; send the whole file", code="photo_damaged") from error
    return _to_rgb(upright)


def _format_of(data: bytes) -> str:
    for magic, name in MAGIC:
        if data.startswith(magic) and (name != "WEBP" or data[8:12] == b"WEBP"):
            return name
    raise PhotoRefused("the photo is not a JPEG, PNG or WebP file", code="photo_format")


def _plain_jpeg(data: bytes) -> bool:
    """Few segments and scans up to its end; what follows (a video, a second picture) no decoder of ours looks at."""
    scans, at = 0, 2
    for _ in range(MAX_PIECES):
        found = MARKER.search(data, at)
        if not found or found[0] == b"\xff\xd9" or scans > MAX_SCANS:
            return scans <= MAX_SCANS
        scans += found[0] == b"\xff\xda"
        at = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
    return False


def _plain_png(data: bytes) -> bool:
    at = 8
    for _ in range(MAX_PIECES):
        if at >= len(data):
            return True
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return False


def _open(data: bytes, name: str, limits: Limits) -> Image.Image:
    """Read the header only, and refuse by size before any pixel is decoded."""
    with warnings.catch_warnings():
        # Pillow warns between one and two times its own limit: ours decides below.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            image = Image.open(io.BytesIO(data), formats=[name])
        except Image.DecompressionBombError as error:
            message = f"the photo has far too many pixels; at most {limits.max_pixels} are accepted"
            raise PhotoRefused(message, code="photo_too_large") from error
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError, struct.error) as error:
            raise PhotoRefused(f"the photo is not a readable {name} file", code="photo_damaged") from error
    width, height = image.size
    if width * height > limits.max_pixels:
        raise PhotoRefused(
            f"the photo has {width} x {height} pixels; at most {limits.max_pixels} are accepted",
            code="photo_too_large",
        )
    if min(width, height) < limits.min_side:
        raise PhotoRefused(
            f"the photo has {width} x {height} pixels; each side needs at least {limits.min_side}",
            code="photo_too_small",
        )
    return image


def _check_mode(image: Image.Image, data: bytes) -> None:
    if getattr(image, "n_frames", 1) > 1:
        raise PhotoRefused("the photo is animated; send a single picture", code="photo_animated")
    if image.mode in ("CMYK", "YCCK", "LAB", "HSV"):
        raise PhotoRefused(f"the photo's colour mode is {image.mode}; send RGB", code="photo_colour_mode")
    # Pillow reads 16-bit RGB PNGs as 8-bit without a word: look into the header ourselves (byte 24: bit depth).
    deep = image.format == "PNG" and data[24:25] == b"\x10"
    if deep or image.mode.startswith(("I", "F")):
        raise PhotoRefused("the photo has more than 8 bits a channel; send 8-bit", code="photo_bit_depth")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        if rgba.getchannel("A").getextrema() != (255, 255):
            raise PhotoRefused("the photo is partly transparent; flatten it first", code="photo_transparent")
        return rgba.convert("RGB")
    return image.convert("RGB")
