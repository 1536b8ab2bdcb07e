"""The training portraits of ../shared/data: table, pixels, licence classes. Read by training only."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

CLEAN = ("us_house", "us_senate", "london_set", "reform_congress")
ALL = (*CLEAN, "omi_synthetic", "omi_edits", "lfw_gray")
PUBLIC_DOMAIN = ("us_house", "us_senate")


@dataclass(frozen=True, slots=True)
class Portrait:
    """One row of portraits.csv. `landmarks` (5, 2) px in the saved image, half a pixel or more right of and below where
    `Detector.refine` finds them; gender and ethnicity may be ""."""

    path: Path
    source: str
    identity: str
    landmarks: NDArray[np.float64]
    colour: bool
    gender: str
    ethnicity: str

    def pixels(self) -> NDArray[np.uint8]:
        """RGB (H, W, 3); gray portraits have three equal channels."""
        with Image.open(self.path) as image:
            return np.asarray(image.convert("RGB"))


def data_folder() -> Path:
    """The folder `shared/data`: SIDER_SHARED/data, or beside the project.

    Raises:
        FileNotFoundError: it is not there.
    """
    shared = Path(os.environ.get("SIDER_SHARED", Path(__file__).parents[2] / "shared"))
    if not (shared / "data" / "portraits" / "portraits.csv").is_file():
        raise FileNotFoundError(f"no training data in {shared}; name the folder in SIDER_SHARED")
    return shared / "data"


def read(sources: tuple[str, ...] = CLEAN) -> list[Portrait]:
    """Rows of the named sources, in the order of the table."""
    folder = data_folder() / "portraits"
    with (folder / "portraits.csv").open(newline="", encoding="utf-8") as table:
        rows = list(csv.reader(table))[1:]
    return [
        Portrait(folder / r[0], r[1], r[2], np.array(r[3:13], float).reshape(5, 2), r[13] == "colour", r[14], r[15])
        for r in rows
        if r[1] in sources
    ]


def held_out(identities: Iterable[str]) -> set[str]:
    """Whom a training leaves out to be measured on, every tenth: of many people there are several portraits."""
    return set(sorted(set(identities))[::10])


def people() -> list[Portrait]:
    """A portrait in colour of everybody in the clean sources, in one random order."""
    rows = list({row.identity: row for row in read() if row.colour}.values())
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0)).tolist()
    return [rows[i] for i in order]
