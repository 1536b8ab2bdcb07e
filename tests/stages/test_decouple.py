"""What covers a face is found within reason, and traits tell what they are named after."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import nn

from core.networks import Networks
from core.stages.align import AlignedFaces
from core.stages.decouple import decouple, open_eyes, to_arrays, traits_of
from core.stages.regions import between_lips


class Finding(nn.Module):
    """Says of every face that this is where it is covered."""

    def __init__(self, where: torch.Tensor) -> None:
        super().__init__()
        self.where = where

    def covered(self, images: torch.Tensor) -> torch.Tensor:
        return self.where.expand(len(images), -1, -1, -1)


def test_what_covers_a_face_stays_and_does_not_count_as_another_look(faces: AlignedFaces, networks: Networks) -> None:
    hand = torch.zeros(1, 1, 256, 256)
    hand[..., 170:, :140] = 1
    bare = decouple(faces, networks)[1]
    appearance = decouple(faces, dataclasses.replace(networks, occlusion=Finding(hand)))[1]
    assert (appearance.covered[..., 170:, :140] == 1).all()
    assert torch.equal(appearance.masks, bare.masks)


def test_a_face_that_is_said_to_be_covered_nearly_everywhere_is_taken_as_bare(
    faces: AlignedFaces, networks: Networks
) -> None:
    """Or its own eyes, nose and mouth would be what is protected."""
    everywhere = dataclasses.replace(networks, occlusion=Finding(torch.ones(1, 1, 256, 256)))
    appearance = decouple(faces, everywhere)[1]
    assert float((appearance.covered * appearance.masks).sum() / appearance.masks.sum()) < 0.2


def test_a_shadow_beside_the_nose_covers_nothing_and_a_strand_on_the_forehead_does(
    faces: AlignedFaces, networks: Networks
) -> None:
    left, _, nose, *_ = faces.landmarks[0].round().int().tolist()
    shadow, strand, finger = (torch.zeros(1, 1, 256, 256) for _ in range(3))
    shadow[..., nose[1] - 30 : nose[1], nose[0] + 5 : nose[0] + 12] = 1
    strand[..., left[1] - 30 : left[1] - 5, nose[0] - 4 : nose[0] + 4] = 1
    finger[..., nose[1] :, nose[0] - 4 : nose[0] + 4] = 1
    found = decouple(faces, dataclasses.replace(networks, occlusion=Finding(shadow + strand)))[1].covered
    assert (found[shadow > 0] < 0.01).all()
    assert (found[strand > 0] == 1).all()
    found = decouple(faces, dataclasses.replace(networks, occlusion=Finding(finger)))[1].covered
    assert (found[finger > 0] == 1).all()


def test_eyes_are_seen_where_they_are_open_and_nowhere_when_they_are_shut(faces: AlignedFaces) -> None:
    picture, marks = to_arrays(faces.images)[0], faces.landmarks[0].numpy()
    found = open_eyes(picture, marks)
    for x, y in marks[:2].round().astype(int):
        assert found[y, x] == 1
    assert found[marks[2].round().astype(int)[1]].max() == 0
    shut = picture.copy()
    for x, y in marks[:2].round().astype(int):
        shut[y - 9 : y + 10, x - 16 : x + 17] = picture[y + 20, x]
        shut[y + 1 : y + 3, x - 14 : x + 15] = 0.1  # lashes
    assert open_eyes(shut, marks).max() == 0


def test_teeth_are_told_from_lips(faces: AlignedFaces) -> None:
    picture, marks = to_arrays(faces.images)[0], faces.landmarks[0].numpy()
    smiling = traits_of(picture, marks, 0.0, 30.0)
    assert smiling.teeth > 0.2
    lips = picture.copy()
    lips[between_lips(marks) > 0] = (0.6, 0.3, 0.3)
    closed = traits_of(lips, marks, 0.0, 30.0)
    assert closed.teeth == 0
    assert np.isclose(closed.smile, smiling.smile)
    # Closed lips under teeth lose a smile; teeth on closed lips are a grimace.
    assert closed.distance(smiling) > 2 * smiling.distance(closed) > 0


def test_traits_are_those_of_the_face_and_not_of_what_covers_it(faces: AlignedFaces) -> None:
    picture, marks = to_arrays(faces.images)[0], faces.landmarks[0].numpy()
    rims = np.zeros((256, 256), np.float32)
    rims[136:141, 60:196] = 1  # below the eyes, over the cheeks
    behind = picture * (1 - rims[..., None])
    bare, wrong = traits_of(picture, marks, 0.0, 30.0), traits_of(behind, marks, 0.0, 30.0)
    right = traits_of(behind, marks, 0.0, 30.0, rims)
    assert wrong.texture > bare.texture + 0.5  # as of a wrinkled face
    assert abs(right.texture - bare.texture) < 0.1
    assert bare.distance(right) < 0.1 * bare.distance(wrong)
    everything = traits_of(picture, marks, 0.0, 30.0, np.ones((256, 256), np.float32))
    assert np.isclose(everything.texture, bare.texture)
    assert everything.teeth == 0
