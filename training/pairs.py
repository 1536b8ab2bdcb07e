"""The development pairs of ../shared/data and what encoders score on them. Measured on, never trained on."""

from __future__ import annotations

import csv
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from core.networks.detector import FIRST_PIXEL
from core.networks.encoder import Encoder
from training import portraits

FARS = (1e-2, 1e-3)


def read() -> tuple[Tensor, Tensor]:
    """uint8 images (2N, 3, 256, 256), every `a` then every `b`; landmarks (2N, 5, 2) px."""
    folder = portraits.data_folder() / "celebahq_pairs"
    with (folder / "pairs.csv").open(newline="", encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    with (folder / "landmarks.csv").open(newline="", encoding="utf-8") as table:
        marks = {r[0]: [float(v) for v in r[1:]] for r in list(csv.reader(table))[1:]}
    files = [r["a"] for r in rows] + [r["b"] for r in rows]
    images = np.stack([np.asarray(Image.open(folder / f).convert("RGB")) for f in files])
    found = torch.tensor([marks[f] for f in files]).view(-1, 5, 2)
    return torch.from_numpy(images).permute(0, 3, 1, 2), found - FIRST_PIXEL


@torch.no_grad()
def embed(encoder: Encoder, images: Tensor, landmarks: Tensor, mirrored: bool = True) -> Tensor:
    """Vectors of uint8 images (N, 3, 256, 256), with those of their mirror images as identities or without; asked where
    the encoder is, answered on the CPU."""
    there, parts = encoder.centre.device, zip(images.split(32), landmarks.split(32), strict=True)
    look = encoder.identity if mirrored else encoder.embed
    return torch.cat([look(x.to(there).float() / 255, marks.to(there)).cpu() for x, marks in parts])


@dataclass(frozen=True, slots=True)
class Scores:
    """Cosines of N genuine and N (N - 1) impostor pairs."""

    genuine: NDArray[np.float64]
    impostor: NDArray[np.float64]

    @classmethod
    def of(cls, encoder: Encoder, mirrored: bool = True) -> Scores:
        vectors = embed(encoder, *read(), mirrored)
        n = len(vectors) // 2
        scores = (vectors[:n] @ vectors[n:].T).double().numpy()
        same = np.eye(n, dtype=bool)
        return cls(scores[same], scores[~same])

    def equal_error(self) -> float:
        """The rate at which as many impostors pass as genuine pairs are refused."""
        shares = np.linspace(0, 0.5, 5001)
        refused = np.array([(self.genuine < cut).mean() for cut in np.quantile(self.impostor, 1 - shares)])
        at = int(np.abs(refused - shares).argmin())
        return float((refused[at] + shares[at]) / 2)

    def thresholds(self) -> dict[float, float]:
        """Cosines at FARS."""
        return {far: float(np.quantile(self.impostor, 1 - far)) for far in FARS}

    def summary(self) -> dict[str, object]:
        """Thresholds and true-accept rates at FARS, equal-error rate and genuine mean, rounded for a file."""
        cuts = {f"{far:g}": round(cut, 5) for far, cut in self.thresholds().items()}
        return {
            "thresholds": cuts,
            "tar": {far: round(float((self.genuine >= cut).mean()), 4) for far, cut in cuts.items()},
            "equal_error": round(self.equal_error(), 4),
            "genuine_mean": round(float(self.genuine.mean()), 4),
            "source": f"{len(self.genuine)} development pairs, this crop",
        }
