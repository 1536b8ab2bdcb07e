"""Landmarks are where they seem to be: the same in a mirror, wherever they were looked for first."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from core.networks import Networks
from core.networks.personas import mirror
from core.stages.align import AlignedFaces
from core.stages.validate import Photo


def test_pixels_are_counted_from_the_first(networks: Networks, astronaut: Photo) -> None:
    """The same pixel counted from 1 would be two pixels off after a look into the mirror."""
    off = []
    for side in range(160, 400, 30):
        pixels = np.array(Image.fromarray(astronaut.pixels).resize((side, side), Image.Resampling.BOX))
        (plain,), (seen,) = networks.detector(pixels), networks.detector(np.ascontiguousarray(pixels[:, ::-1]))
        off.append((plain - mirror(pixels, seen)[1])[:, 0].mean())
    assert abs(np.mean(off)) < 1


def test_refined_landmarks_do_not_hang_on_where_they_were_found(networks: Networks, faces: AlignedFaces) -> None:
    chance, span = torch.Generator().manual_seed(1), (faces.landmarks[0, 1] - faces.landmarks[0, 0]).norm()
    starts = faces.landmarks + 3 * torch.randn(6, 5, 2, generator=chance)
    again = networks.detector.refine(faces.images.expand(6, -1, -1, -1), starts)
    assert (starts - faces.landmarks).norm(dim=-1).mean() > 0.04 * span
    assert (again - faces.landmarks).norm(dim=-1).mean() < 0.02 * span


def test_refined_landmarks_are_the_same_in_a_mirror(networks: Networks, faces: AlignedFaces) -> None:
    picture = faces.images[0].permute(1, 2, 0).numpy()
    image, marks = mirror(picture, faces.landmarks[0].numpy())
    mirrored = torch.tensor(image.copy()).permute(2, 0, 1)[None]
    seen = networks.detector.refine(mirrored, torch.tensor(marks, dtype=torch.float32)[None])[0].numpy()
    assert np.abs(mirror(image, seen)[1] - faces.landmarks[0].numpy()).mean() < 1


@pytest.mark.parametrize("side", [400, 1300])
@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_a_face_is_found_whichever_way_it_is_turned(
    networks: Networks, astronaut: Photo, quarter: int, side: int
) -> None:
    pixels = np.array(Image.fromarray(astronaut.pixels).resize((side, side + 50)))
    (plain,), (seen,) = networks.detector(pixels), networks.detector(np.rot90(pixels, quarter).copy())
    y, x = np.rot90(np.mgrid[: side + 50, :side], quarter, (1, 2))
    back = np.array([(x[j, i], y[j, i]) for i, j in seen.round().astype(int)])
    assert np.abs(back - plain).max() < 0.08 * np.linalg.norm(plain[1] - plain[0])


def test_of_one_face_only_the_surest_way_up_counts_and_others_beside_it_stay(
    networks: Networks, astronaut: Photo
) -> None:
    one = np.array(Image.fromarray(astronaut.pixels).resize((256, 256)))
    found = networks.detector(np.hstack([one, np.rot90(one), np.rot90(one, 2), np.rot90(one, 3)]))
    assert len(found) == 4
    eyes = found[np.argsort(found[:, 2, 0])][:, :2]
    across = eyes[:, 1] - eyes[:, 0]
    angles = np.round(np.degrees(np.arctan2(across[:, 1], across[:, 0])) / 90) % 4
    assert angles.tolist() == [0, 3, 2, 1]


@pytest.mark.parametrize("x", [20, 330, 430])
def test_a_small_turned_face_beside_a_large_one_costs_neither(networks: Networks, astronaut: Photo, x: int) -> None:
    """A print in somebody's hand, or a child at a cheek."""
    pixels = astronaut.pixels.copy()
    small = np.array(Image.fromarray(pixels[:300, 80:380]).resize((120, 120), Image.Resampling.BOX))
    big = np.array(Image.fromarray(pixels[:300, 80:380]).resize((512, 512)))
    big[150:270, min(x, 392) : min(x, 392) + 120] = np.rot90(small)
    spans = sorted(np.linalg.norm(found[1] - found[0]) for found in networks.detector(big))
    assert len(spans) == 2
    assert spans[1] > 3 * spans[0]
