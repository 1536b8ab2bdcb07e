"""Bytes of an upload -> Photo. The first stage, torch-free, and the only one that meets hostile input."""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from core.errors import PhotoRefused
from core.vault.restoration import pixel_digest, png_bytes

# An encoder makes a dozen scans at most; each costs the decoder a walk over the whole picture, whatever it holds.
MAX_SCANS = 64
MAX_PIECES = 20_000  # segments or chunks; honest ones are some kB long
MAX_PROFILE = 2**19  # bytes; those of cameras and screens have some kB, with tables some hundred
MARKER = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]")  # of a segment, or the end; not what entropy-coded data may hold
# First bytes of the formats we accept.
MAGIC = ((b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"RIFF", "WEBP"))
# Called by name: Image.open would take a JPEG that has another picture behind it (a depth, a preview) for an animation.
DECODERS: dict[str, Callable[[io.BytesIO], Image.Image]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WEBP": WebPImageFile,
}
# Of the chunks that a PNG need not have, those that say what it shows. The others, texts above all, are dropped unread.
SHOWN = (b"tRNS", b"acTL", b"fcTL", b"fdAT")
GREYS = ("1", "L", "LA")  # modes
# What the values of EXIF's orientation ask for.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class Photo:
    """pixels: uint8 (H, W, 3) RGB, upright. profile: ICC, of the colours that the numbers stand for; None: sRGB's."""

    pixels: NDArray[np.uint8]
    profile: bytes | None = None

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
        """A lossless PNG without other metadata than the profile."""
        return png_bytes(self.pixels, profile=self.profile)


@dataclass(frozen=True, slots=True)
class Limits:
    """max_bytes of the file; max_pixels of the picture; min_side, px."""

    max_bytes: int = 20 * 2**20
    max_pixels: int = 40_000_000
    min_side: int = 64


def read_photo(data: bytes, limits: Limits | None = None) -> Photo:
    """Decode an uploaded photo: JPEG, PNG or WebP; EXIF orientation applied, all metadata dropped but an RGB profile.

    Grey and palette pictures become RGB, greys by a profile of theirs; an alpha channel that is opaque everywhere is
    dropped. Of the pictures in a JPEG the first is taken.

    Raises:
        PhotoRefused: empty, too large or small, another format, damaged, animated, CMYK, 16-bit, transparent.
    """
    image, profile = decode(data, limits)
    return Photo(np.array(image, dtype=np.uint8), profile)


def decode(data: bytes, limits: Limits | None = None) -> tuple[Image.Image, bytes | None]:
    """As `read_photo`, for who only wants to know whether it can be read: the picture and its profile."""
    limits = limits or Limits()
    if not data:
        raise PhotoRefused("the photo is empty (0 bytes)", code="photo_empty")
    if len(data) > limits.max_bytes:
        raise PhotoRefused(
            f"the photo has more than the {limits.max_bytes} bytes that are accepted",
            code="photo_too_large",
        )
    name = _format_of(data)
    if name == "JPEG":
        _check_pieces(data)
    elif name == "PNG":
        data = _shown(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Pillow warns of is refused below, or metadata that cannot be read
        image = _open(data, name, limits)
        _check_mode(image, data)
        try:
            # The size in the header is checked by now: this is where memory is taken.
            image.load()
        except (OSError, SyntaxError, ValueError, struct.error) as error:
            raise PhotoRefused("the photo is damaged or cut off; send the whole file", code="photo_damaged") from error
        return _coloured(_upright(image))


def _format_of(data: bytes) -> str:
    for magic, name in MAGIC:
        if data.startswith(magic) and (name != "WEBP" or data[8:12] == b"WEBP"):
            return name
    raise PhotoRefused("the photo is not a JPEG, PNG or WebP file", code="photo_format")


def _check_pieces(data: bytes) -> None:
    """Insist on few segments and scans of a JPEG up to its end; what follows (a video, a second picture) no decoder of
    ours looks at."""
    scans, at = 0, 2
    for _ in range(MAX_PIECES):
        found = MARKER.search(data, at)
        if not found or found[0] == b"\xff\xd9":
            return
        scans += found[0] == b"\xff\xda"
        if scans > MAX_SCANS:
            break
        at = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
    raise _too_complex("JPEG")


def _shown(data: bytes) -> bytes:
    """A PNG up to its end without the metadata that we have no use for, or that Pillow would stumble over."""
    if data[12:16] != b"IHDR":  # with its depth, which Pillow takes from wherever it finds it
        raise _unreadable("PNG")
    kept, at, metadata = [data[:8]], 8, {b"eXIf", b"iCCP"}
    for _ in range(MAX_PIECES):
        kind, end = data[at + 4 : at + 8], at + 12 + int.from_bytes(data[at : at + 4], "big")
        piece = data[at:end]
        if kind in metadata:
            metadata.remove(kind)  # there may be one of each, and to look at one costs time
            if _sound(piece):
                kept.append(piece)
        elif not kind[:1].islower() or kind in SHOWN:
            kept.append(piece)
        at = end
        if at >= len(data) or kind == b"IEND":
            return b"".join(kept)
    raise _too_complex("PNG")


def _sound(piece: bytes) -> bool:
    """Whether a chunk of metadata is whole, and no profile that unpacks to more than Pillow or we would take."""
    if zlib.crc32(piece[4:-4]).to_bytes(4, "big") != piece[-4:]:
        return False
    if piece[4:8] == b"eXIf":
        return True
    _, _, packed = piece[8:-4].partition(b"\0")  # its name; then the method, of which there is one
    profile = zlib.decompressobj()
    with suppress(zlib.error):
        profile.decompress(packed[1:], MAX_PROFILE)
    return packed[:1] == b"\0" and profile.eof


def _too_complex(name: str) -> PhotoRefused:
    message = f"the photo is stored in far too many pieces; save it again as a plain {name}"
    return PhotoRefused(message, code="photo_too_complex")


def _unreadable(name: str) -> PhotoRefused:
    return PhotoRefused(f"the photo is not a readable {name} file", code="photo_damaged")


def _open(data: bytes, name: str, limits: Limits) -> Image.Image:
    """Read the header only, and refuse by size before any pixel is decoded."""
    try:
        image = DECODERS[name](io.BytesIO(data))
    except Image.DecompressionBombError as error:
        message = f"the photo has far too many pixels; at most {limits.max_pixels} are accepted"
        raise PhotoRefused(message, code="photo_too_large") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise _unreadable(name) from error
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


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF says, but not as XMP says, which viewers do not heed; what cannot be read turns nothing."""
    exif = Image.Exif()
    with suppress(OSError, SyntaxError, ValueError, struct.error):
        exif.load(image.info.get("exif", b""))
        turn = TURNS.get(exif.get(ExifTags.Base.Orientation, 1))
        return image if turn is None else image.transpose(turn)
    return image


def _coloured(image: Image.Image) -> tuple[Image.Image, bytes | None]:
    """In RGB, and its profile, if that is one by which a viewer can show RGB; greys by theirs become those of sRGB."""
    rgb, packed = _to_rgb(image), image.info.get("icc_profile")
    if not packed or len(packed) > MAX_PROFILE:
        return rgb, None
    with suppress(ImageCms.PyCMSError):
        profile, srgb = ImageCms.getOpenProfile(io.BytesIO(packed)), ImageCms.createProfile("sRGB")
        if image.mode in GREYS and packed[16:20] == b"GRAY":  # bytes: Pillow would stumble over other letters
            return ImageCms.buildTransform(profile, srgb, "L", "RGB").apply(rgb.getchannel("R")), None
        ImageCms.buildTransform(profile, srgb, "RGB", "RGB")  # fails with half a profile, or one of other colours
        return rgb, packed
    return rgb, None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        if rgba.getchannel("A").getextrema() != (255, 255):
            raise PhotoRefused("the photo is partly transparent; flatten it first", code="photo_transparent")
        return rgba.convert("RGB")
    return image.convert("RGB")
