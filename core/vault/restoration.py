"""What makes a protected photo whole again: the original pixels of every box a method changed.

Packed form: 4-byte length, JSON header, one PNG a box. PNG is lossless and smaller than raw pixels.
"""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hmac import compare_digest
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydantic import BaseModel, Field

from core.errors import RestoreDenied

Pixels = NDArray[np.uint8]
Box = tuple[int, int, int, int]  # x, y, width, height, px of the photo
Read = Callable[[bytes], Pixels]  # a PNG (RestoreDenied)

MAX_HEADER = 64 * 2**10
MAX_BOXES = 64
MAX_VARIANTS = 64
MAX_PIXELS = 200_000_000
MAX_COVER = 16  # pixels of all boxes by those of the photo: as many faces as it may have, were each all there is of it


def pixel_digest(pixels: Pixels) -> str:
    """sha256, hex, of the size and the RGB pixels of a picture."""
    digest = hashlib.sha256(f"{pixels.shape[1]}x{pixels.shape[0]}\n".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def png_bytes(pixels: Pixels, info: PngInfo | None = None, profile: bytes | None = None) -> bytes:
    """Lossless PNG of RGB pixels, without other metadata than is given; profile: ICC."""
    buffer = io.BytesIO()
    Image.fromarray(pixels, "RGB").save(buffer, "PNG", compress_level=4, pnginfo=info, icc_profile=profile)
    return buffer.getvalue()


def png_size(png: bytes) -> tuple[int, int]:
    """Height and width by the header of a PNG (RestoreDenied)."""
    if len(png) < 24 or png[:8] != b"\x89PNG\r\n\x1a\n":
        raise RestoreDenied
    width, height = struct.unpack_from(">II", png, 16)
    return height, width


def read_box(png: bytes) -> Pixels:
    """The pixels of a box's PNG (RestoreDenied)."""
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as picture:
            if picture.mode != "RGB" or picture.size[::-1] != png_size(png):  # a second header goes before the first
                raise RestoreDenied
            return np.array(picture)
    except (ValueError, OSError, SyntaxError, struct.error, Image.DecompressionBombError) as error:
        raise RestoreDenied from error


Pixel = Annotated[int, Field(ge=0, lt=2**31)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Header(BaseModel):
    """boxes: x, y, and the length of the PNG."""

    boxes: Annotated[tuple[tuple[Pixel, Pixel, Annotated[int, Field(gt=0)]], ...], Field(max_length=MAX_BOXES)]
    original_sha256: Digest
    protected_sha256: Annotated[tuple[Digest, ...], Field(max_length=MAX_VARIANTS)]


@dataclass(frozen=True, slots=True)
class Restoration:
    """boxes: (x, y) of the top-left pixel and the original pixels uint8 (h, w, 3), once unpacked as their PNG. Digests
    by `pixel_digest`."""

    boxes: tuple[tuple[int, int, Pixels | bytes], ...]
    original_sha256: str
    protected_sha256: tuple[str, ...]

    @classmethod
    def of(cls, original: Pixels, protected: Sequence[Pixels], boxes: Sequence[Box]) -> Restoration:
        """From the original, its protected variants, and the boxes outside which none of them differs."""
        cuts = tuple((x, y, original[y : y + h, x : x + w].copy()) for x, y, w, h in boxes)
        restoration = cls(cuts, pixel_digest(original), tuple(pixel_digest(p) for p in protected))
        for variant in protected:
            # A change outside the boxes would be found by the customer on the day of the restore: find it now.
            if pixel_digest(restoration._paste(variant)) != restoration.original_sha256:
                raise ValueError("a protected variant differs from the original outside its boxes")
        return restoration

    def pack(self) -> bytes:
        """Bytes that `unpack` reads."""
        pictures = [box if isinstance(box, bytes) else png_bytes(box) for _, _, box in self.boxes]
        header = _Header(
            boxes=tuple((x, y, len(p)) for (x, y, _), p in zip(self.boxes, pictures, strict=True)),
            original_sha256=self.original_sha256,
            protected_sha256=self.protected_sha256,
        )
        text = header.model_dump_json().encode()
        return b"".join((struct.pack(">I", len(text)), text, *pictures))

    @classmethod
    def unpack(cls, packed: bytes) -> Restoration:
        """The inverse of `pack`; pictures are left as they are until they are needed.

        Raises:
            RestoreDenied: these bytes are nothing that `pack` wrote.
        """
        try:
            return cls._unpack(packed)
        except (ValueError, struct.error) as error:
            raise RestoreDenied from error

    @classmethod
    def _unpack(cls, packed: bytes) -> Restoration:
        (length,) = struct.unpack_from(">I", packed)
        if length > MAX_HEADER:
            raise ValueError("header too long")
        header = _Header.model_validate_json(packed[4 : 4 + length])
        boxes, at = [], 4 + length
        for x, y, size in header.boxes:
            if size > len(packed) - at:
                raise ValueError("a box is cut off")
            boxes.append((x, y, packed[at : at + size]))
            at += size
        return cls(tuple(boxes), header.original_sha256, header.protected_sha256)

    def apply(self, protected: Pixels, read: Read = read_box) -> Pixels:
        """The original pixels; `read` decodes one box after another.

        Raises:
            RestoreDenied: this is none of the protected variants, or the result is not the original.
        """
        digest = pixel_digest(protected)
        if not any(compare_digest(digest, known) for known in self.protected_sha256):
            raise RestoreDenied
        original = self._paste(protected, read)
        if not compare_digest(pixel_digest(original), self.original_sha256):
            raise RestoreDenied
        return original

    def _paste(self, protected: Pixels, read: Read = read_box) -> Pixels:
        self._check_sizes(protected)
        pixels = protected.copy()
        for x, y, box in self.boxes:
            cut = read(box) if isinstance(box, bytes) else box
            window = pixels[y : y + cut.shape[0], x : x + cut.shape[1]]
            if window.shape != cut.shape:
                raise RestoreDenied
            window[...] = cut
        return pixels

    def _check_sizes(self, protected: Pixels) -> None:
        """Before any is decoded, or a small file that somebody else has written could take all memory: each within the
        photo, and all together no more than honest ones are."""
        height, width = protected.shape[:2]
        total = 0
        for x, y, box in self.boxes:
            h, w = png_size(box) if isinstance(box, bytes) else box.shape[:2]
            total += h * w
            if min(x, y) < 0 or x + w > width or y + h > height or total > MAX_COVER * height * width:
                raise RestoreDenied
