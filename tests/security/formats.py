"""Pieces of PNG, JPEG, TIFF and WebP files that no library writes, put together by hand."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

from PIL import Image

from tests.fakes import picture

RGB = Image.fromarray(picture(256, 256).pixels)
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


def encoded(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()


def zipped(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a.txt"), data)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int, height: int, depth: int = 8, colour: int = 2, idat: bytes | None = None, before: bytes = b"",
    interlace: int = 0,
) -> bytes:  # fmt: skip
    """A PNG of these header fields, black if it is of 64 x 64."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    idat = zlib.compress(bytes(193 * 64)) if idat is None else idat
    return PNG_MAGIC + chunk(b"IHDR", head) + before + chunk(b"IDAT", idat) + chunk(b"IEND", b"")


def adam7(side: int, samples: int = 3) -> bytes:
    """The data of a black interlaced square."""
    packed = zlib.compressobj()
    out = b""
    for x, y, dx, dy in (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ):
        row = bytes(1 + samples * len(range(x, side, dx)))
        out += packed.compress(row * len(range(y, side, dy)))
    return out + packed.flush()


def segment(marker: int, data: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def jpeg_exif(data: bytes) -> bytes:
    whole = encoded(RGB, format="JPEG")
    return whole[:2] + segment(0xE1, b"Exif\0\0" + data) + whole[2:]


def tiff(*entries: tuple[int, int, int, bytes]) -> bytes:
    """A directory of (tag, type, count, 4 bytes of value or offset)."""
    rows = b"".join(struct.pack("<HHI", *entry[:3]) + entry[3].ljust(4, b"\0") for entry in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + rows + bytes(4)


def jpeg_sized(data: bytes, width: int, height: int) -> bytes:
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def without(data: bytes, marker: int) -> bytes:
    """A JPEG without its segments of a kind; without the scan it has no pixels either."""
    out, at = data[:2], 2
    while data[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        out += data[at:end] if data[at + 1] != marker else b""
        at = end
    return out + (data[at:] if marker != 0xDA else b"\xff\xd9")


def with_scans(data: bytes, count: int) -> bytes:
    """A progressive grey JPEG whose last scan comes again and again."""
    at = data.rindex(b"\xff\xda")
    return data[:at] + data[at:-2] * min(count, 19 * 2**20 // len(data[at:-2])) + data[-2:]


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for kind, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def canvas_of(width: int, height: int, flags: int = 0) -> tuple[bytes, bytes]:
    return b"VP8X", struct.pack("<I", flags) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


def webp_canvas(width: int, height: int) -> bytes:
    return riff(canvas_of(width, height))


def webp_extra(kind: bytes, data: bytes, canvas: tuple[int, int] = RGB.size) -> bytes:
    frame = encoded(RGB, format="WEBP")[20:]
    flags = {b"EXIF": 8, b"ICCP": 32}.get(kind, 0)
    extra, picture_chunk = (kind, data), (b"VP8 ", frame)
    order = (extra, picture_chunk) if kind == b"ICCP" else (picture_chunk, extra)
    return riff(canvas_of(*canvas, flags), *order)


def webp_frame(width: int, height: int) -> bytes:
    frame = bytearray(encoded(RGB, format="WEBP")[20:])
    frame[6:10] = struct.pack("<HH", width, height)
    return riff((b"VP8 ", bytes(frame)))


def webp_lossless(width: int, height: int) -> bytes:
    return riff((b"VP8L", b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + bytes(99)))
