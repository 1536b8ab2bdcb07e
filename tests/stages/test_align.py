"""Crop and paste are an inverse pair, and paste touches nothing outside the feathered box."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from core.errors import NoFaceFound, RequestRefused
from core.networks import Networks, warp
from core.stages.align import MAX_FACES, TEMPLATE, AlignedFaces, align, crop, paste, stored
from core.stages.validate import Photo
from tests import profiles

CPU = torch.device("cpu")


def test_the_face_is_found_and_upright(faces: AlignedFaces) -> None:
    assert len(faces) == 1
    assert faces.images.shape == (1, 3, 256, 256)
    assert (faces.landmarks[0] - torch.tensor(TEMPLATE)).abs().max() < 12


def test_paste_of_the_crop_gives_the_photo_back(faces: AlignedFaces, astronaut: Photo) -> None:
    assert (paste(faces, faces.images).pixels == astronaut.pixels).all()


def large(astronaut: Photo, networks: Networks) -> AlignedFaces:
    """A face four times as large as an aligned one, with a detail that this cannot show: every other column darker."""
    pixels = np.asarray(Image.fromarray(astronaut.pixels[0:300, 100:400]).resize((1600, 1600))).copy()
    pixels[:, ::2] = pixels[:, ::2] * 0.8
    return align(Photo(pixels), networks.detector, CPU)


def stripes(photo: Photo, faces: AlignedFaces, point: tuple[float, float]) -> float:
    """How much columns differ from their neighbours around a point of the aligned face."""
    back = warp.invert(faces.matrices)
    x, y = warp.move(torch.tensor([[point]]), back)[0, 0].round().long().tolist()
    patch = photo.pixels[y - 8 : y + 8, x - 8 : x + 8].astype(float)
    return float(np.abs(np.diff(patch, axis=1)).mean())


def test_a_paste_leaves_the_detail_of_what_it_does_not_change(astronaut: Photo, networks: Networks) -> None:
    """Where the face is drawn anew the old detail goes; of a whole head it goes everywhere."""
    faces = large(astronaut, networks)
    cheek, hair = (104.0, 165.0), (128.0, 40.0)
    other = faces.images.clone()
    other[..., 100:220, 60:200] = (other[..., 100:220, 60:200] + 0.1).clamp(0, 1)
    changed, whole = (paste(replace(faces, whole=whole), other) for whole in (False, True))
    before = {point: stripes(faces.photo, faces, point) for point in (cheek, hair)}
    assert stripes(changed, faces, cheek) < before[cheek] / 4
    assert stripes(changed, faces, hair) == before[hair]
    for point in (cheek, hair):
        assert stripes(whole, faces, point) < before[point] / 4
    for photo in (changed, whole):
        assert (crop(photo, faces.matrices, faces.boxes) - other).abs().mean() < 0.01


@pytest.mark.parametrize("whole", [False, True])
def test_heads_that_touch_both_stay_changed(astronaut: Photo, networks: Networks, whole: bool) -> None:
    """The square around a face holds a part of the next one, as it was."""
    head = astronaut.pixels[:200, 188:260]
    faces = align(Photo(np.concatenate((head, head[:, ::-1]), 1)), networks.detector, CPU)
    assert len(faces) == 2
    other, face = faces.images.clone(), np.s_[:, :, 90:215, 60:196]
    other[face] = other[face].flip(1)
    inside = torch.zeros_like(other, dtype=torch.bool)
    inside[face] = True
    seen = crop(paste(replace(faces, whole=whole), other), faces.matrices, faces.boxes)
    for b in range(2):
        off, before = ((x[b] - other[b])[inside[b]].abs().mean() for x in (seen, faces.images))
        assert off < before / 10


def test_nothing_outside_the_box_changes(faces: AlignedFaces, astronaut: Photo) -> None:
    changed = (paste(faces, torch.zeros_like(faces.images)).pixels != astronaut.pixels).any(-1)
    x, y, w, h = faces.boxes[0]
    assert changed[y : y + h, x : x + w].mean() > 0.5
    changed[y : y + h, x : x + w] = False
    assert not changed.any()


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**31))
def test_whatever_is_pasted_the_outside_stays(faces: AlignedFaces, astronaut: Photo, seed: int) -> None:
    noise = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(seed))
    pasted = paste(faces, noise)
    x, y, w, h = faces.boxes[0]
    outside = np.ones(astronaut.pixels.shape[:2], bool)
    outside[y : y + h, x : x + w] = False
    assert (pasted.pixels[outside] == astronaut.pixels[outside]).all()


def test_stored_is_what_a_reader_of_the_pasted_photo_sees(faces: AlignedFaces) -> None:
    other = faces.images.flip(-1)
    seen = crop(paste(faces, other), faces.matrices, faces.boxes)
    assert torch.allclose(stored(faces, other), seen, atol=1e-5)


def test_what_is_stored_of_a_selfie_is_seen_at_the_size_of_the_aligned_face(
    astronaut: Photo, networks: Networks
) -> None:
    head = Image.fromarray(astronaut.pixels).crop((100, 0, 400, 300))
    faces = align(Photo(np.asarray(head.resize((1501, 1501)))), networks.detector, CPU)
    assert min(faces.boxes[0][2:]) > 3 * 256
    other = faces.images.flip(-1)
    seen = crop(paste(faces, other), faces.matrices, faces.boxes)
    off = (stored(faces, other) - seen).abs()
    assert off.mean() < 1 / 255
    assert off[..., 16:-16, 16:-16].max() < 0.1  # half a pixel aside an edge would be off by more


def test_all_faces_of_a_photo_largest_first(astronaut: Photo, networks: Networks) -> None:
    small = np.asarray(Image.fromarray(astronaut.pixels).resize((256, 256)))
    canvas = np.zeros((512, 1024, 3), np.uint8)
    canvas[:256, :256] = small
    canvas[:, 512:] = astronaut.pixels
    found = align(Photo(canvas), networks.detector, CPU)
    assert len(found) == 2
    assert found.boxes[0][0] > 512
    assert len(align(Photo(canvas), networks.detector, CPU, "largest")) == 1


def test_a_face_at_the_border_keeps_its_box_inside(astronaut: Photo, networks: Networks) -> None:
    cut = Photo(np.ascontiguousarray(astronaut.pixels[60:400, 150:300]))
    found = align(cut, networks.detector, CPU)
    x, y, w, h = found.boxes[0]
    assert x >= 0
    assert y >= 0
    assert x + w <= cut.width
    assert y + h <= cut.height
    assert (paste(found, found.images).pixels == cut.pixels).all()


def test_a_crowd_is_refused_before_any_face_is_cut_out(networks: Networks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.stages.align.find", lambda *_: torch.tensor([TEMPLATE] * (MAX_FACES + 1)))
    photo = Photo(np.zeros((256, 256, 3), np.uint8))
    with pytest.raises(RequestRefused, match="17 faces"):
        align(photo, networks.detector, CPU)
    assert len(align(photo, networks.detector, CPU, "largest")) == 1


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ((64, 64), "32 px or more .* was found in a photo of 64 x 64 px; send a sharper"),
        ((300, 400), "32 px or more .* was found in a photo of 400 x 300 px; send a sharper"),
        ((64, 2000), "50 px or more .* was found in a photo of 2000 x 64 px; send a sharper"),
        ((6000, 64), "in a photo of 64 x 6000 px, which is too narrow for its length: .* 150 px or more"),
    ],
)
def test_no_face_says_what_to_do(networks: Networks, shape: tuple[int, int], told: str) -> None:
    with pytest.raises(NoFaceFound, match=told):
        align(Photo(np.full((*shape, 3), 90, np.uint8)), networks.detector, CPU)


def test_a_paste_keeps_the_colour_profile(astronaut: Photo, networks: Networks) -> None:
    found = align(Photo(astronaut.pixels, profiles.SWAPPED), networks.detector, CPU)
    assert paste(found, found.images).profile == profiles.SWAPPED
