"""Our own encoders: shapes, gradients, and what is said of weights that do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from core.errors import ConfigurationError
from core.networks import students


@pytest.mark.parametrize("family", sorted(students.FAMILIES))
def test_a_family_embeds_and_hands_gradients_back(family: str) -> None:
    torch.manual_seed(0)
    student = students.FAMILIES[family](24).eval()
    crops = torch.rand(2, 3, student.side, student.side, requires_grad=True)
    embeddings = student(crops)
    assert embeddings.shape == (2, 24)
    embeddings.square().sum().backward()
    assert crops.grad is not None
    assert (crops.grad.abs().amax((1, 2, 3)) > 0).all()


def test_half_precision_weights_load(tmp_path: Path) -> None:
    torch.manual_seed(0)
    student = students.residual(24).eval()
    save_file({k: v.half() for k, v in student.state_dict().items()}, tmp_path / "s.safetensors")
    crops = torch.rand(1, 3, 112, 112)
    with torch.no_grad():
        loaded = students.load(tmp_path / "s.safetensors", "residual", 24)(crops)
        assert loaded.dtype == torch.float32
        assert torch.cosine_similarity(loaded, student(crops)) > 0.999


@pytest.mark.parametrize(("family", "dim"), [("hybrid", 24), ("residual", 32), ("unheard_of", 24)])
def test_weights_of_another_shape_are_refused(tmp_path: Path, family: str, dim: int) -> None:
    save_file(students.residual(24).state_dict(), tmp_path / "s.safetensors")
    with pytest.raises(ConfigurationError, match=family):
        students.load(tmp_path / "s.safetensors", family, dim)


def test_absent_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="residual"):
        students.load(tmp_path / "none.safetensors", "residual", 24)
