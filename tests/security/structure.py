"""Uploads of broken structure: JPEG, PNG and WebP files whose parts contradict each other."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from tests.security.formats import PNG_MAGIC, RGB, adam7, chunk, encoded, png, segment, webp_canvas, webp_extra, without
from tests.security.uploads import ACCEPTED, COLOUR, DAMAGED, DEPTH, Upload


def jpegs() -> Iterator[Upload]:
    whole = encoded(RGB, format="JPEG", quality=60)
    for name, marker in {"tables": 0xDB, "codes": 0xC4, "frame": 0xC0, "scan": 0xDA}.items():
        answers = (ACCEPTED,) if name == "codes" else (DAMAGED,)  # as in every frame of a camera's video
        yield Upload(f"jpeg without {name}", without(whole, marker), answers)
    at = whole.index(b"\xff\xc0")
    for code in (0xC1, 0xC2, 0xC3, 0xC5, 0xC9, 0xCA, 0xCB, 0xCF):
        other = whole[: at + 1] + bytes([code]) + whole[at + 2 :]
        yield Upload(f"jpeg with frame type {code:x}", other, (ACCEPTED, DAMAGED))
    for name, offset, value in (
        ("12 bits", 4, 12),
        ("no components", 9, 0),
        ("5 components", 9, 5),
        ("factors", 11, 0xFF),
    ):
        other = bytearray(whole)
        other[at + offset] = value
        yield Upload(f"jpeg with {name}", bytes(other), (DAMAGED, DEPTH, COLOUR))
    body = whole[2:]
    for name, data in {
        "fill bytes": b"\xff\xd8" + b"\xff" * 100_000 + body,
        "two frames": whole[:at] + whole[at : at + 19] * 2 + whole[at + 19 :],
        "restarts": b"\xff\xd8" + segment(0xDD, b"\0\1") + body,
        "a comment of length 0": b"\xff\xd8\xff\xfe\0\0" + body,
        "an overfull code": b"\xff\xd8" + segment(0xC4, b"\0" + b"\xff" * 16 + bytes(255)) + body,
        "a segment beyond the end": b"\xff\xd8\xff\xe1\xff\xff" + bytes(9),
        "only an end": b"\xff\xd8\xff\xd9",
        "10,000 comments": b"\xff\xd8" + segment(0xFE, b"x") * 10_000 + body,
    }.items():
        yield Upload(f"jpeg with {name}", data, (ACCEPTED, DAMAGED))


def pngs() -> Iterator[Upload]:
    good = zlib.compress(b"".join(b"\0" + bytes(64 * 3) for _ in range(64)))
    yield Upload("png made by hand", png(64, 64, idat=good), (ACCEPTED,))
    yield Upload("png interlaced", png(64, 64, idat=adam7(64), interlace=1), (ACCEPTED,))
    yield Upload("png of unknown interlace", png(64, 64, idat=good, interlace=7), (ACCEPTED, DAMAGED))
    for colour in (1, 5, 7, 255):
        yield Upload(f"png of colour type {colour}", png(64, 64, colour=colour, idat=good), (DAMAGED,))
    for depth in (0, 3, 7, 32, 255):
        yield Upload(f"png of {depth} bits", png(64, 64, depth=depth, idat=good), (DAMAGED,))
    filters = zlib.compress(b"".join(bytes([9]) + bytes(64 * 3) for _ in range(64)))
    head = PNG_MAGIC + chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0))
    end = chunk(b"IEND", b"")
    for name, data in {
        "no data": head + end,
        "data before its header": PNG_MAGIC + chunk(b"IDAT", good) + head[8:] + end,
        "unknown filters": png(64, 64, idat=filters),
        "half of its data": png(64, 64, idat=good[: len(good) // 2]),
        "no zlib": png(64, 64, idat=b"not compressed at all"),
        "a header of 12 bytes": PNG_MAGIC + chunk(b"IHDR", bytes(12)) + end,
        "no header": PNG_MAGIC + end,
        "a wrong checksum": png(64, 64, idat=good).replace(zlib.crc32(b"IDAT" + good).to_bytes(4, "big"), b"abcd"),
        "no palette": png(64, 64, colour=3, idat=zlib.compress(bytes(65 * 64))),
        "300 colours": png(64, 64, colour=3, before=chunk(b"PLTE", bytes(900)), idat=zlib.compress(bytes(65 * 64))),
        "a chunk of 2 GiB": head + b"\x7f\xff\xff\xffIDAT" + bytes(99),
        "a second header": head + head[8:] + chunk(b"IDAT", good) + end,
        "1-byte pieces of data": head + b"".join(chunk(b"IDAT", good[i : i + 1]) for i in range(len(good))) + end,
    }.items():
        yield Upload(f"png with {name}", data, (ACCEPTED, DAMAGED))


def webps() -> Iterator[Upload]:
    whole = encoded(RGB, format="WEBP")
    for name, data in {
        "a size of 0": whole[:4] + bytes(4) + whole[8:],
        "a size of 4 GiB": whole[:4] + b"\xff" * 4 + whole[8:],
        "a frame of 4 GiB": whole[:16] + b"\xff" * 4 + whole[20:],
        "an unknown frame": whole[:12] + b"VP9 " + whole[16:],
        "no frame": b"RIFF\x04\0\0\0WEBP",
        "a canvas and no frame": webp_canvas(64, 64),
        "another canvas": webp_extra(b"EXIF", b"", canvas=(300, 300)),
        "a profile that is none": webp_extra(b"ICCP", b"none"),
        "an unknown chunk of 4 MiB": webp_extra(b"JUNK", bytes(2**22)),
    }.items():
        yield Upload(f"webp with {name}", data, (ACCEPTED, DAMAGED))
