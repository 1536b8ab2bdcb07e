"""Shared by all tests: the packaged networks, loaded once, and the one real photo that needs no download."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data

from core.networks import Networks
from core.stages.align import AlignedFaces, align
from core.stages.validate import Photo

SHARED = Path(os.environ.get("SIDER_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(scope="session")
def networks() -> Networks:
    return Networks.load(device="cpu")


@pytest.fixture(scope="session")
def astronaut() -> Photo:
    """512 x 512, one frontal face (NASA, public domain)."""
    return Photo(np.asarray(data.astronaut()))


@pytest.fixture(scope="session")
def faces(astronaut: Photo, networks: Networks) -> AlignedFaces:
    return align(astronaut, networks.detector, torch.device("cpu"))


@pytest.fixture(scope="session")
def portraits() -> list[Path]:
    """Real faces of ../shared; tests that need them skip loudly where they are absent."""
    folder = SHARED / "data" / "portraits" / "us_house"
    if not folder.is_dir():
        pytest.skip(f"no portraits in {folder}: set SIDER_SHARED to the folder that holds data/")
    return sorted(folder.glob("*.jpg"))
