"""What makes a protected photo whole again: the original pixels of every box a method changed.

Packed form: 4-byte length, JSON header, one PNG a box. PNG is lossless and smaller than raw pixels.
"""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Sequence
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

MAX_HEADER = 64 * 2**10
MAX_BOXES = 64
MAX_VARIANTS = 64
MAX_PIXELS = 200_000_000


def pixel_digest(pixels: Pixels) -> str:
    """sha256, hex, of the size and the RGB pixels of a picture."""
    digest = hashlib.sha256(f"{pixels.shape[1]}x{pixels.shape[0]}\n".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def png_bytes(pixels: Pixels, info: PngInfo | None = None) -> bytes:
    """Lossless PNG of RGB pixels, without other metadata than is given."""
    buffer = io.BytesIO()
    Image.fromarray(pixels, "RGB").save(buffer, "PNG", compress_level=4, pnginfo=info)
    return buffer.getvalue()


Pixel = Annotated[int, Field(ge=0, lt=2**31)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Header(BaseModel):
    """boxes: x, y, and the length of the PNG."""

    boxes: Annotated[tuple[tuple[Pixel, Pixel, Annotated[int, Field(gt=0)]], ...], Field(max_length=MAX_BOXES)]
    original_sha256: Digest
    protected_sha256: Annotated[tuple[Digest, ...], Field(max_length=MAX_VARIANTS)]


@dataclass(frozen=True, slots=True)
class Restoration:
    """boxes: (x, y) of the top-left pixel and the original pixels uint8 (h, w, 3). Digests by `pixel_digest`."""

    boxes: tuple[tuple[int, int, Pixels], ...]
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
        pictures = [png_bytes(pixels) for _, _, pixels in self.boxes]
        header = _Header(
            boxes=tuple((x, y, len(p)) for (x, y, _), p in zip(self.boxes, pictures, strict=True)),
            original_sha256=self.original_sha256,
            protected_sha256=self.protected_sha256,
        )
        text = header.model_dump_json().encode()
        return b"".join((struct.pack(">I", len(text)), text, *pictures))

    @classmethod
    def unpack(cls, packed: bytes) -> Restoration:
        """The inverse of `pack`.

        Raises:
            RestoreDenied: these bytes are nothing that `pack` wrote.
        """
        try:
            return cls._unpack(packed)
        except (ValueError, OSError, SyntaxError, struct.error, Image.DecompressionBombError) as error:
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
            with Image.open(io.BytesIO(packed[at : at + size]), formats=["PNG"]) as picture:
                if picture.mode != "RGB" or picture.width * picture.height > MAX_PIXELS:
                    raise ValueError("a box is no RGB picture")
                boxes.append((x, y, np.array(picture)))
            at += size
        return cls(tuple(boxes), header.original_sha256, header.protected_sha256)

    def apply(self, protected: Pixels) -> Pixels:
        """The original pixels.

        Raises:
            RestoreDenied: this is none of the protected variants, or the result is not the original.
        """
        digest = pixel_digest(protected)
        if not any(compare_digest(digest, known) for known in self.protected_sha256):
            raise RestoreDenied
        original = self._paste(protected)
        if not compare_digest(pixel_digest(original), self.original_sha256):
            raise RestoreDenied
        return original

    def _paste(self, protected: Pixels) -> Pixels:
        pixels = protected.copy()
        for x, y, box in self.boxes:
            window = pixels[y : y + box.shape[0], x : x + box.shape[1]]
            if min(x, y) < 0 or window.shape != box.shape:
                raise RestoreDenied
            window[...] = box
        return pixels
