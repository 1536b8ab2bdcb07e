"""The occlusion network: what it takes for a face, on a real one; saving and loading."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from core.errors import ConfigurationError
from core.networks import Networks
from core.networks.occlusion import Occlusion, load
from core.stages.align import AlignedFaces
from core.stages.regions import face_masks

CPU = torch.device("cpu")


@pytest.fixture
def small() -> Occlusion:
    torch.manual_seed(0)
    return Occlusion((8, 16)).eval().requires_grad_(False)


def with_a_bar(images: Tensor, landmarks: Tensor) -> tuple[Tensor, Tensor]:
    """The face behind something as dark as hair that hangs from the brow to the jaw; and where that is."""
    x = round(float(landmarks[0, 1, 0])) + 8
    where = torch.zeros_like(images[:, :1])
    where[..., 70:190, x : x + 14] = 1
    return images * (1 - where) + 0.08 * where, where


def below_the_fringe(faces: AlignedFaces) -> Tensor:
    mask = face_masks(faces.landmarks)
    mask[..., :90, :] = 0
    return mask


def test_a_bare_face_is_seen_as_bare(faces: AlignedFaces, networks: Networks) -> None:
    mask = below_the_fringe(faces)
    covered = networks.occlusion.covered(faces.images)
    assert covered.shape == mask.shape
    assert float((covered * mask).sum() / mask.sum()) < 0.05
    assert float(covered[..., :24, :24].mean()) > 0.9  # behind her


def test_something_in_front_of_a_face_is_found(faces: AlignedFaces, networks: Networks) -> None:
    images, where = with_a_bar(faces.images, faces.landmarks)
    covered, mask = networks.occlusion.covered(images), below_the_fringe(faces)
    assert float((covered * where).sum() / where.sum()) > 0.8
    elsewhere = mask * (1 - torch.nn.functional.max_pool2d(where, 9, 1, 4))
    assert float((covered * elsewhere).sum() / elsewhere.sum()) < 0.05


def test_personas_are_bare(networks: Networks) -> None:
    some = networks.personas[::24]
    images = torch.stack([torch.from_numpy(p.image.copy()) for p in some]).permute(0, 3, 1, 2).float() / 255
    mask = face_masks(torch.stack([torch.from_numpy(p.landmarks.copy()) for p in some]))
    covered = networks.occlusion.covered(images)
    assert float(((covered * mask).sum((1, 2, 3)) / mask.sum((1, 2, 3))).max()) < 0.08


def test_a_mirror_image_is_covered_in_the_mirror_image(small: Occlusion) -> None:
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(small.covered(images.flip(-1)), small.covered(images).flip(-1), atol=1e-5)


def test_it_survives_saving_in_half_precision(small: Occlusion, tmp_path: Path) -> None:
    images = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    said = small(images)
    small.half().save_pretrained(tmp_path / "occlusion")  # type: ignore[no-untyped-call]
    assert torch.allclose(load(tmp_path / "occlusion", CPU)(images), said, atol=0.01 * float(said.abs().max()))


def test_absent_or_broken_is_an_error(small: Occlusion, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="occlusion"):
        load(tmp_path / "occlusion", CPU)
    small.save_pretrained(tmp_path / "occlusion")  # type: ignore[no-untyped-call]
    (tmp_path / "occlusion" / "config.json").write_text("{")
    with pytest.raises(ConfigurationError, match="occlusion"):
        load(tmp_path / "occlusion", CPU)
