"""Our torch port against dlib itself."""

from __future__ import annotations

from pathlib import Path

import dlib as reference
import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from core.errors import ConfigurationError
from core.networks import dlib


def largest_difference(chips: list[np.ndarray]) -> float:
    model = reference.face_recognition_model_v1(str(dlib.packaged_file()))
    expected = np.stack([np.asarray(model.compute_face_descriptor(np.ascontiguousarray(c))) for c in chips])
    batch = torch.from_numpy(np.stack(chips)).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        got = dlib.load(dlib.packaged_file())(batch).numpy()
    return float(np.abs(got - expected).max())


def test_equals_dlib_on_a_real_face_however_cut() -> None:
    photo = Image.fromarray(data.astronaut())
    cuts = [(x, y, x + s, y + s) for x, y, s in ((120, 10, 200), (150, 40, 150), (100, 0, 300), (170, 60, 120))]
    assert largest_difference([np.asarray(photo.crop(c).resize((150, 150))) for c in cuts]) <= 1e-5


def test_equals_dlib_on_many_real_faces(portraits: list[Path]) -> None:
    chips = [np.asarray(Image.open(p).convert("RGB").resize((150, 150))) for p in portraits[::20]]
    assert len(chips) > 15
    assert largest_difference(chips) <= 1e-5


@pytest.mark.parametrize("content", [b"", b"not a network", b"\x01\x05con_4" * 20])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "net.dat"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"net\.dat"):
        dlib.load(path)


def test_a_cut_off_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.dat"
    path.write_bytes(dlib.packaged_file().read_bytes()[:2_000_000])
    with pytest.raises(ConfigurationError):
        dlib.load(path)
