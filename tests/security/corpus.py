"""Hostile and odd uploads, made by code: a name, the bytes, and what the service has to say to them."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from tests.profiles import LINEAR_GREY
from tests.security.formats import (
    PNG_MAGIC,
    RGB,
    adam7,
    chunk,
    encoded,
    jpeg_exif,
    jpeg_sized,
    png,
    segment,
    tiff,
    webp_canvas,
    webp_extra,
    webp_frame,
    webp_lossless,
    with_scans,
    zipped,
)
from tests.security.structure import jpegs, pngs, webps
from tests.security.uploads import (
    ACCEPTED,
    ANIMATED,
    COLOUR,
    COMPLEX,
    DAMAGED,
    DEPTH,
    EMPTY,
    FORMAT,
    LARGE,
    SMALL,
    TRANSPARENT,
    Upload,
)

FORMATS = {
    "jpeg": {"format": "JPEG", "quality": 90},
    "progressive": {"format": "JPEG", "quality": 90, "progressive": True},
    "png": {"format": "PNG"},
    "webp": {"format": "WEBP"},
    "webp-lossless": {"format": "WEBP", "lossless": True},
}


def light() -> list[Upload]:
    """Those that take milliseconds; the same in every run."""
    groups = (cut_off, noise, flips, foreign, polyglots, sizes, modes, exif, profiles, jpegs, pngs, webps)
    return [upload for group in groups for upload in group()]


def heavy() -> list[Upload]:
    """Those that take a decoder's time or memory, if it lets them."""
    return [*bombs(), *animations()]


def cut_off() -> Iterator[Upload]:
    for name, options in FORMATS.items():
        whole = encoded(RGB, **options)
        for percent in (5, 10, 15, 20, 25, 30, 40, 50, 60, 70, 80, 90, 95):
            yield Upload(f"{name} cut at {percent} %", whole[: len(whole) * percent // 100], (DAMAGED,))
        yield Upload(f"{name} of 2 bytes", whole[:2], (FORMAT,))
    yield Upload("nothing", b"", (EMPTY,))


def noise() -> Iterator[Upload]:
    for name, magic in {"jpeg": b"\xff\xd8\xff", "png": PNG_MAGIC, "webp": b"RIFF\xff\xff\0\0WEBPVP8 "}.items():
        for seed in range(8):
            rest = random.Random(seed).randbytes(10 ** (seed % 5 + 1))
            yield Upload(f"{name} magic and noise {seed}", magic + rest, (DAMAGED,))


def flips() -> Iterator[Upload]:
    """A few bytes changed anywhere: a good decoder reads on or refuses."""
    for name, options in FORMATS.items():
        for seed in range(12):
            data, rng = bytearray(encoded(RGB, **options)), random.Random(seed)
            for _ in range(1 + seed):
                data[rng.randrange(16, len(data))] = rng.randrange(256)
            answers = (ACCEPTED, DAMAGED, LARGE, SMALL, COLOUR, DEPTH, ANIMATED, TRANSPARENT)
            yield Upload(f"{name} with {1 + seed} bytes changed", bytes(data), answers)


def foreign() -> Iterator[Upload]:
    for name in ("BMP", "GIF", "TIFF", "ICO", "PPM", "TGA", "PCX", "SGI", "JPEG2000", "DDS", "EPS", "PDF", "ICNS"):
        yield Upload(name, encoded(RGB, format=name), (FORMAT,))
    files = {
        "text": b"just a text", "bom": b"\xef\xbb\xbftext", "html": b"<html><script>alert(1)</script></html>",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>', "json": b'{"photo": "\xff\xd8\xff"}',
        "xml": b'<!DOCTYPE a [<!ENTITY b "bbb"><!ENTITY c "&b;&b;">]><a>&c;</a>', "zip": zipped(b"zip"),
        "gzip": b"\x1f\x8b\x08\0" + bytes(99), "elf": b"\x7fELF" + bytes(99), "exe": b"MZ" + bytes(99),
        "shell": b"#!/bin/sh\nid\n", "zeros": bytes(10_000), "wave": b"RIFF\x24\0\0\0WAVEfmt ", "newlines": b"\n" * 999,
        "avi": b"RIFF\x24\0\0\0AVI LIST", "heic": b"\0\0\0\x18ftypheic" + bytes(99), "php": b"<?php system($_GET[0]);",
        "avif": b"\0\0\0\x18ftypavif" + bytes(99), "mp4": b"\0\0\0\x18ftypisom" + bytes(99), "psd": b"8BPS" + bytes(99),
        "jxl": b"\xff\x0a" + bytes(99), "postscript": b"%!PS\n(/etc/passwd) (r) file", "pickle": b"\x80\x04cos\nsystem",
        "mvg": b"push graphic-context\nimage over 0,0 0,0 'https://127.0.0.1/'", "one byte": b"\xff",
        "webm": b"\x1aE\xdf\xa3" + bytes(99), "flif": b"FLIF" + bytes(99), "bpg": b"BPG\xfb" + bytes(99),
    }  # fmt: skip
    for name, data in files.items():
        yield Upload(name, data, (FORMAT,))


def polyglots() -> Iterator[Upload]:
    """Two kinds of file at once. As a photo it is read; what else it is does not leave the decoder."""
    for name, options in FORMATS.items():
        whole = encoded(RGB, **options)
        for what, other in {"zip": zipped(b"x"), "html": b"<script>alert(1)</script>", "second": whole}.items():
            yield Upload(f"{name} then {what}", whole + other, (ACCEPTED,))
        for what, head in {"pdf": b"%PDF-1.4\n", "gif": b"GIF89a", "space": b" ", "bom": b"\xef\xbb\xbf"}.items():
            yield Upload(f"{what} then {name}", head + whole, (FORMAT,))
    yield Upload("jpeg with a script as comment", encoded(RGB, format="JPEG", comment=b"<script>"), (ACCEPTED,))
    yield Upload("png called webp", b"RIFF\0\0\0\0WEBP" + encoded(RGB, format="PNG"), (DAMAGED,))


def sizes() -> Iterator[Upload]:
    for width, height in ((1, 1), (2, 2), (63, 64), (64, 63), (1, 10_000), (10_000, 1), (30_000, 1), (1, 30_000)):
        small = Image.new("RGB", (width, height))
        for name in ("png", "jpeg", "webp") if max(width, height) < 16_384 else ("png", "jpeg"):
            yield Upload(f"{name} {width} x {height}", encoded(small, **FORMATS[name]), (SMALL,))
    for width, height in ((60_000, 60_000), (2**31 - 1, 2**31 - 1), (40_000_001, 1), (6400, 6400), (2**31 - 1, 64)):
        yield Upload(f"png header {width} x {height}", png(width, height), (LARGE,))
    for width, height in ((0, 64), (64, 0), (0, 0), (2**32 - 1, 64)):
        yield Upload(f"png header {width} x {height}", png(width, height), (DAMAGED, SMALL, LARGE))
    small = encoded(RGB, format="JPEG")
    for width, height in ((65_535, 65_535), (65_500, 700), (700, 65_500)):
        yield Upload(f"jpeg header {width} x {height}", jpeg_sized(small, width, height), (LARGE,))
    for width, height in ((0, 64), (64, 0), (0, 0)):
        yield Upload(f"jpeg header {width} x {height}", jpeg_sized(small, width, height), (DAMAGED, SMALL))
    yield Upload("jpeg header 6000 x 6000", jpeg_sized(small, 6000, 6000), (ACCEPTED, DAMAGED))
    for width, height in ((2**24, 2**24), (2**24, 64), (16_384, 16_384)):
        yield Upload(f"webp canvas {width} x {height}", webp_canvas(width, height), (LARGE, DAMAGED))
    yield Upload("webp frame 16383 x 16383", webp_frame(16_383, 16_383), (LARGE, DAMAGED))
    yield Upload("webp lossless 16384 x 16384", webp_lossless(16_384, 16_384), (LARGE, DAMAGED))


def bombs() -> Iterator[Upload]:
    """Little to send, much to decode."""
    blank = Image.new("L", (6300, 6300))
    for name in ("png", "jpeg", "progressive"):
        yield Upload(f"{name} of 40 MP and one colour", encoded(blank, **FORMATS[name]), (ACCEPTED,))
    wide = Image.new("RGB", (16_383, 2_400))
    yield Upload("webp of 39 MP and one colour", encoded(wide, format="WEBP", method=0), (ACCEPTED,))
    yield Upload("webp lossless of 39 MP", encoded(wide, format="WEBP", lossless=True, method=0), (ACCEPTED,))
    yield Upload("png of 400 MP", png(20_000, 20_000, idat=zlib.compress(bytes(60_001 * 20_000 // 50))), (LARGE,))
    interlaced = png(6300, 6300, colour=0, idat=adam7(6300, 1), interlace=1)
    yield Upload("png interlaced, 40 MP", interlaced, (ACCEPTED,))
    yield Upload("png with a palette and 40 MP", encoded(blank.convert("P"), format="PNG"), (ACCEPTED,))
    see_through = Image.new("RGBA", (6300, 6300), (0, 0, 0, 255))
    yield Upload("png with opaque alpha, 40 MP", encoded(see_through, format="PNG", compress_level=1), (ACCEPTED,))
    for kind, head in {b"zTXt": b"a\0\0", b"iTXt": b"a\0\1\0\0\0", b"iCCP": b"a\0\0"}.items():
        bomb = chunk(kind, head + zlib.compress(bytes(100 * 2**20)))
        yield Upload(f"png with 100 MiB in {kind.decode()}", png(64, 64, before=bomb), (ACCEPTED,))
    texts = b"".join(chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**20))) for _ in range(200))
    yield Upload("png with 200 texts of 1 MiB", png(64, 64, before=texts), (ACCEPTED,))
    profile = chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(2**19)))
    yield Upload("png with 19,000 profiles", png(64, 64, before=profile * 19_000), (ACCEPTED,))
    shades = Image.new("L", (6300, 6300), 90)
    yield Upload("grey by a profile, 40 MP", encoded(shades, format="PNG", icc_profile=LINEAR_GREY), (ACCEPTED,))
    yield Upload("png with 300,000 chunks", png(64, 64, before=chunk(b"teXt", b"") * 300_000), (COMPLEX,))
    comments = encoded(RGB, format="JPEG").replace(b"\xff\xd8", b"\xff\xd8" + segment(0xFE, b"") * 4_000_000)
    yield Upload("jpeg with 4,000,000 comments", comments, (COMPLEX,))
    video = encoded(RGB, format="JPEG") + random.Random(2).randbytes(8 * 2**20)
    yield Upload("jpeg with a video behind it", video, (ACCEPTED,))
    more = png(64, 64, idat=zlib.compress(bytes(200 * 2**20)))
    yield Upload("png with 200 MiB for 64 x 64", more, (ACCEPTED, DAMAGED))
    endless = encoded(Image.new("L", (6300, 6300), 90), format="JPEG", progressive=True)
    for count in (20, 60, 1000, 100_000):
        answers = (COMPLEX,) if count > 64 else (ACCEPTED, DAMAGED, COMPLEX)
        yield Upload(f"progressive jpeg, 40 MP, {count} more scans", with_scans(endless, count), answers)


def modes() -> Iterator[Upload]:
    yield Upload("jpeg cmyk", encoded(RGB.convert("CMYK"), format="JPEG"), (COLOUR,))
    yield Upload("jpeg cmyk progressive", encoded(RGB.convert("CMYK"), format="JPEG", progressive=True), (COLOUR,))
    yield Upload("jpeg grey", encoded(RGB.convert("L"), format="JPEG"), (ACCEPTED,))
    for mode in ("1", "L", "P", "RGB"):
        yield Upload(f"png {mode}", encoded(RGB.convert(mode), format="PNG"), (ACCEPTED,))
    for bits in (1, 2, 4):
        yield Upload(
            f"png palette of {bits} bits", encoded(RGB.quantize(2**bits), format="PNG", bits=bits), (ACCEPTED,)
        )
    for colour, samples in ((0, 1), (2, 3), (4, 2), (6, 4)):
        rows = b"".join(b"\0" + bytes(64 * samples * 2) for _ in range(64))
        yield Upload(f"png 16 bits, colour type {colour}", png(64, 64, 16, colour, zlib.compress(rows)), (DEPTH,))
    deep = Image.fromarray(np.zeros((64, 64), np.uint16))
    yield Upload("png grey 16 bits by Pillow", encoded(deep, format="PNG"), (DEPTH,))
    for alpha, answer in ((255, ACCEPTED), (254, TRANSPARENT), (0, TRANSPARENT)):
        image = RGB.convert("RGBA")
        image.putalpha(alpha)
        for name in ("png", "webp", "webp-lossless"):
            yield Upload(f"{name} with alpha {alpha}", encoded(image, **FORMATS[name]), (answer,))
        yield Upload(f"png grey with alpha {alpha}", encoded(image.convert("LA"), format="PNG"), (answer,))
    palette = RGB.quantize(16)
    yield Upload("png palette, colour 0 transparent", encoded(palette, format="PNG", transparency=0), (TRANSPARENT,))
    keyed = encoded(Image.new("RGB", (64, 64), (1, 2, 3)), format="PNG", transparency=(1, 2, 3))
    yield Upload("png with a transparent colour", keyed, (TRANSPARENT,))
    yield Upload(
        "png with an unused transparent colour", encoded(RGB, format="PNG", transparency=(1, 2, 3)), (ACCEPTED,)
    )


def animations() -> Iterator[Upload]:
    for count in (2, 50, 400):
        frames = [Image.new("RGB", (96, 96), (n * 50 % 256, n // 5, 7)) for n in range(count)]
        for name in ("PNG", "WEBP", "MPO"):
            several = encoded(frames[0], format=name, save_all=True, append_images=frames[1:])
            answers = (ANIMATED, COMPLEX) if count > 64 else (ANIMATED,)
            yield Upload(f"{name} of {count} frames", several, answers if name != "MPO" else (ACCEPTED,))
    claims = chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))
    yield Upload("png that claims 2**31 frames", png(64, 64, before=claims), (ACCEPTED, ANIMATED, DAMAGED))


def exif() -> Iterator[Upload]:
    """Tricks with tags; the picture itself is good, so it is read."""
    for value in (0, 1, 6, 8, 9, 255, 65_535):
        yield Upload(f"orientation {value}", jpeg_exif(tiff((0x0112, 3, 1, struct.pack("<HH", value, 0)))), (ACCEPTED,))
    broken = {
        "orientation as text": tiff((0x0112, 2, 4, b"six\0")),
        "orientation of 2**32 values": tiff((0x0112, 3, 2**32 - 1, bytes(4))),
        "orientation of no type": tiff((0x0112, 99, 1, bytes(4))),
        "orientation as NaN": tiff((0x0112, 11, 1, struct.pack("<f", float("nan")))),
        "orientation as 1/0": tiff((0x0112, 5, 1, struct.pack("<I", 8))),
        "a directory that follows itself": b"II*\0\x08\0\0\0" + struct.pack("<HI", 0, 8),
        "a subdirectory that holds itself": tiff((0x8769, 4, 1, struct.pack("<I", 8))),
        "a directory beyond the end": b"II*\0\xff\xff\xff\x7f",
        "65,535 entries": b"II*\0\x08\0\0\0\xff\xff" + bytes(60_000),
        "no tiff": b"nonsense" * 8,
        "big endian": b"MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0",
        "cut off": b"II*\0\x08\0\0\0\x05",
        "nothing": b"",
        "a thumbnail beyond the end": tiff((0x0201, 4, 1, struct.pack("<I", 2**31)), (0x0202, 4, 1, bytes(4))),
        "a script": tiff((0x010E, 2, 4, b"<a>\0")),
    }
    for name, data in broken.items():
        yield Upload(f"jpeg exif: {name}", jpeg_exif(data), (ACCEPTED,))
        yield Upload(f"png exif: {name}", png(64, 64, before=chunk(b"eXIf", data)), (ACCEPTED,))
        yield Upload(f"webp exif: {name}", webp_extra(b"EXIF", data), (ACCEPTED,))
    whole, full = encoded(RGB, format="JPEG"), b"Exif\0\0" + bytes(60_000)
    yield Upload("jpeg with 300 segments of exif", whole[:2] + segment(0xE1, full) * 300 + whole[2:], (ACCEPTED, LARGE))


def profiles() -> Iterator[Upload]:
    good = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    nans = good[:200] + struct.pack(">f", float("nan")) * ((len(good) - 200) // 4)
    cases = {
        "good": good,
        "NaN": nans,
        "noise": random.Random(1).randbytes(5000),
        "empty": b"",
        "huge": bytes(8 * 2**20),
        "grey": LINEAR_GREY,
        "grey, NaN": LINEAR_GREY[:240] + nans[240:],
    }
    for name, profile in cases.items():
        for kind in ("jpeg", "png", "webp"):
            image = RGB.convert("L") if "grey" in name else RGB
            data = encoded(image, icc_profile=profile or b"\0", **FORMATS[kind])
            yield Upload(f"{kind} with a profile: {name}", data, (ACCEPTED,))
    info = PngInfo()
    info.add(b"iCCP", b"a\0\0not compressed")
    yield Upload("png with a profile that is not compressed", encoded(RGB, format="PNG", pnginfo=info), (ACCEPTED,))
