"""Hostile and odd uploads: each is handled or refused by its own code."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from core.errors import PhotoRefused
from core.stages.validate import MAX_PROFILE, Limits, Photo, read_photo
from tests import profiles
from tests.fakes import picture

RGB = Image.fromarray(picture().pixels)


def encoded(image: Image.Image, name: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int, depth: int = 8) -> bytes:
    """A PNG that claims a size and holds next to nothing: a decompression bomb's shape."""
    head = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_whoever_allows_more_pixels_than_pillow_warns_of_gets_them() -> None:
    with pytest.raises(PhotoRefused) as caught:
        read_photo(png_header(10_000, 10_000), Limits(max_pixels=100_000_000))
    assert caught.value.code == "photo_damaged"  # there are no pixels in it, which is seen only beyond the header


@pytest.mark.parametrize("name", ["PNG", "WEBP", "JPEG"])
def test_formats_are_read(name: str) -> None:
    options = {"lossless": True} if name == "WEBP" else {"quality": 95}
    photo = read_photo(encoded(RGB, name, **options))
    assert photo.pixels.shape == (96, 128, 3)
    assert photo.pixels.dtype == np.uint8
    if name != "JPEG":
        assert (photo.pixels == picture().pixels).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_and_dropped(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = read_photo(encoded(RGB, "PNG", exif=exif))
    flips = {
        1: np.asarray,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90,
    }
    assert (photo.pixels == flips[orientation](picture().pixels)).all()
    with Image.open(io.BytesIO(photo.to_png())) as written:
        assert not written.getexif()


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP"])
def test_who_turns_a_photo_is_exif_and_not_xmp(name: str) -> None:
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    options = {"pnginfo": text("XML:com.adobe.xmp", xmp)} if name == "PNG" else {"xmp": xmp}
    assert read_photo(encoded(RGB, name, **options)).pixels.shape == (96, 128, 3)


@pytest.mark.parametrize("exif", [b"garbage", b"II*\0\xff\xff\xff\x7f", b"MM\0*\0\0\0\x08\xff\xff\x01\x12"])
def test_exif_that_cannot_be_read_turns_nothing(exif: bytes) -> None:
    for name in ("PNG", "JPEG", "WEBP"):
        data = encoded(RGB, name, exif=b"Exif\0\0" + exif)
        assert read_photo(data).pixels.shape == (96, 128, 3)


def text(key: str, value: bytes) -> PngInfo:
    info = PngInfo()
    info.add_itxt(key, value)
    return info


def with_chunk(kind: bytes, data: bytes, harmed: bool = False) -> bytes:
    """A good PNG with one chunk more, of metadata."""
    png, extra = encoded(RGB, "PNG"), chunk(kind, data)
    return png[:33] + extra[: -1 if harmed else None] + b"\0" * harmed + png[33:]


BOMB = zlib.compress(bytes(2**20 + 1))


@pytest.mark.parametrize(
    "data",
    [
        with_chunk(b"tEXt", b"Comment\0hello", harmed=True),
        with_chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\0", harmed=True),
        with_chunk(b"zTXt", b"Comment\0\0" + BOMB),
        with_chunk(b"iTXt", b"Comment\0\1\0\0\0" + BOMB),
        with_chunk(b"zTXt", b"Comment\0\7unknown"),
        with_chunk(b"iCCP", b"a\0\0" + BOMB),
        with_chunk(b"iCCP", b"a\0\7unknown"),
        with_chunk(b"iCCP", b"a"),
        with_chunk(b"iCCP", b"a\0\0garbage"),
        with_chunk(b"iCCP", b"a\0\0" + zlib.compress(profiles.SWAPPED), harmed=True),
        with_chunk(b"gAMA", b"\0"),
        encoded(RGB, "PNG") + bytes(500_000),
    ],
)
def test_a_good_png_with_bad_metadata_is_read(data: bytes) -> None:
    photo = read_photo(data)
    assert (photo.pixels == picture().pixels).all()
    assert photo.profile is None


def test_one_profile_is_unpacked_at_most() -> None:
    """Each costs time, and there is room for 20,000 in a file."""
    twice = (zlib.compress(profiles.SWAPPED[:n]) for n in (400, None))
    png = b"".join(chunk(b"iCCP", b"a\0\0" + packed) for packed in twice)
    whole = encoded(RGB, "PNG")
    assert read_photo(whole[:33] + png + whole[33:]).profile is None


@pytest.mark.parametrize("name", ["PNG", "WEBP", "JPEG"])
def test_numbers_of_colours_stay_as_they_are_and_keep_their_profile(name: str) -> None:
    options = {"lossless": True} if name == "WEBP" else {}
    bare = read_photo(encoded(RGB, name, **options))
    photo = read_photo(encoded(RGB, name, icc_profile=profiles.SWAPPED, **options))
    assert (photo.pixels == bare.pixels).all()
    assert (photo.profile, photo.sha256) == (profiles.SWAPPED, bare.sha256)
    assert read_photo(photo.to_png()).profile == profiles.SWAPPED
    with Image.open(io.BytesIO(bare.to_png())) as written:
        assert "icc_profile" not in written.info


@pytest.mark.parametrize(
    "profile",
    [
        b"garbage",
        profiles.CUT_OFF,
        profiles.CMYK,
        profiles.GARBLED,
        profiles.LINEAR_GREY,  # of a picture that has colours
        profiles.SWAPPED + bytes(MAX_PROFILE),
    ],
)
def test_a_profile_that_no_viewer_could_use_is_not_kept(profile: bytes) -> None:
    for name in ("PNG", "JPEG", "WEBP"):
        bare, photo = read_photo(encoded(RGB, name)), read_photo(encoded(RGB, name, icc_profile=profile))
        assert photo.profile is None
        assert (photo.pixels == bare.pixels).all()


def test_depth_is_not_hidden_behind_another_chunk() -> None:
    deep = encoded(Image.fromarray(np.zeros((96, 96), np.uint16)), "PNG")
    with pytest.raises(PhotoRefused) as refused:
        read_photo(deep[:8] + chunk(b"tRNS", b"\0\0") + deep[8:])
    assert refused.value.code == "photo_damaged"


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_greys_look_as_before(mode: str) -> None:
    """There is no RGB profile for them to keep: they become those of sRGB."""
    grey = Image.new("L", (96, 96), 128 if mode != "1" else 255).convert(mode)
    photo = read_photo(encoded(grey, "PNG", icc_profile=profiles.LINEAR_GREY))
    assert photo.profile is None
    assert np.unique(photo.pixels).tolist() == [188 if mode != "1" else 255]
    for other in ({}, {"icc_profile": profiles.GARBLED}):
        assert np.unique(read_photo(encoded(grey, "PNG", **other)).pixels).tolist() == [128 if mode != "1" else 255]


@pytest.mark.parametrize("quality", [50, 95])
def test_of_two_pictures_in_a_jpeg_the_first_is_taken(quality: int) -> None:
    """As phones store a portrait with its depth, and cameras a preview; viewers show the first alone."""
    both = encoded(RGB, "MPO", save_all=True, append_images=[RGB.rotate(90)], quality=quality)
    with Image.open(io.BytesIO(both)) as image:
        assert image.n_frames == 2
    assert (read_photo(both).pixels == read_photo(encoded(RGB, "JPEG", quality=quality)).pixels).all()


def test_gray_palette_and_opaque_alpha_become_rgb() -> None:
    gray = read_photo(encoded(RGB.convert("L"), "PNG"))
    assert (gray.pixels[..., 0] == gray.pixels[..., 2]).all()
    assert read_photo(encoded(RGB.quantize(16), "PNG")).pixels.shape == (96, 128, 3)
    assert (read_photo(encoded(RGB.convert("RGBA"), "PNG")).pixels == picture().pixels).all()


def transparent() -> bytes:
    image = RGB.convert("RGBA")
    image.putpixel((5, 5), (0, 0, 0, 0))
    return encoded(image, "PNG")


REFUSED = {
    "photo_empty": b"",
    "photo_format": encoded(RGB, "BMP"),
    "photo_damaged": encoded(RGB, "JPEG")[:-400],
    "photo_animated": encoded(RGB, "WEBP", save_all=True, append_images=[RGB.rotate(90)], duration=50),
    "photo_colour_mode": encoded(RGB.convert("CMYK"), "JPEG"),
    "photo_bit_depth": encoded(Image.fromarray(np.zeros((96, 96), np.uint16)), "PNG"),
    "photo_transparent": transparent(),
    "photo_too_small": encoded(RGB.resize((128, 32)), "PNG"),
    "photo_too_large": png_header(60_000, 60_000),
}


@pytest.mark.parametrize("code", REFUSED)
def test_refused_with_its_code(code: str) -> None:
    with pytest.raises(PhotoRefused) as caught:
        read_photo(REFUSED[code])
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (encoded(RGB, "PNG", save_all=True, append_images=[RGB.rotate(90)]), "photo_animated"),
        (png_header(300, 300, depth=16), "photo_bit_depth"),
        (png_header(7000, 7000), "photo_too_large"),
        (png_header(300, 300), "photo_damaged"),
        (b"\xff\xd8\xff" + b"\0" * 100, "photo_damaged"),
        (b"\x89PNG\r\n\x1a\n<html><script>", "photo_damaged"),
        (b"RIFF\0\0\0\0WAVE", "photo_format"),
        (b"%PDF-1.4" + encoded(RGB, "JPEG"), "photo_format"),
        (encoded(RGB, "GIF"), "photo_format"),
    ],
)
def test_more_hostile_files(data: bytes, code: str) -> None:
    with pytest.raises(PhotoRefused) as caught:
        read_photo(data)
    assert caught.value.code == code


def test_byte_limit() -> None:
    data = encoded(RGB, "PNG")
    with pytest.raises(PhotoRefused) as caught:
        read_photo(data, Limits(max_bytes=len(data) - 1))
    assert caught.value.code == "photo_too_large"
    read_photo(data, Limits(max_bytes=len(data)))


@given(st.binary(max_size=400), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF0000WEBP"]))
def test_noise_is_refused_and_nothing_else_happens(noise: bytes, magic: bytes) -> None:
    with pytest.raises(PhotoRefused):
        read_photo(magic + noise)


@given(st.integers(0, 1500), st.integers(0, 255))
def test_a_corrupted_photo_is_read_or_refused(position: int, value: int) -> None:
    data = bytearray(encoded(RGB, "JPEG", quality=60))
    data[position % len(data)] = value
    try:
        photo = read_photo(bytes(data))
    except PhotoRefused:
        return
    assert photo.pixels.shape[2] == 3


def test_digest_covers_size_and_pixels() -> None:
    pixels = picture().pixels
    other = pixels.copy()
    other[0, 0, 0] ^= 1
    assert Photo(pixels).sha256 != Photo(other).sha256
    assert Photo(pixels).sha256 != Photo(pixels.reshape(128, 96, 3)).sha256
