"""Pictures, masks, landmarks and vectors stay together."""

from __future__ import annotations

import torch

from core.stages.align import TEMPLATE
from training import known_faces


def faces(count: int = 3) -> known_faces.Faces:
    """Black pictures with a white dot of 9 x 9 px at each landmark."""
    marks = torch.tensor(TEMPLATE).repeat(count, 1, 1)
    layers = torch.zeros(count, 5, 256, 256, dtype=torch.uint8)
    for x, y in marks[0].round().long().tolist():
        layers[:, :, y - 4 : y + 5, x - 4 : x + 5] = 255
    return known_faces.Faces(layers, marks, {"one": torch.eye(count)})


def draw(seed: int) -> known_faces.Batch:
    return known_faces.batch(faces(), torch.arange(3), torch.Generator().manual_seed(seed), torch.device("cpu"))


def test_every_photo_comes_twice() -> None:
    seen = draw(0)
    assert len(seen.x) == 6
    for part in (seen.x, seen.mask, seen.landmarks, seen.vectors["one"]):
        assert torch.equal(part[::2], part[1::2])
    assert not torch.equal(seen.x[0], seen.x[2])


def test_landmarks_go_where_the_picture_goes() -> None:
    for seed in range(4):  # mirrored ones among them
        seen = draw(seed)
        for row, marks in zip(seen.mask, seen.landmarks.round().long(), strict=True):
            assert all(float(row[0, y, x]) > 0.9 for x, y in marks.tolist())
        assert (seen.landmarks[:, 0, 0] < seen.landmarks[:, 1, 0]).all()
        assert (seen.landmarks[:, 3, 0] < seen.landmarks[:, 4, 0]).all()
