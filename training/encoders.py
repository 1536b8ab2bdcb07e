"""Calibrate the encoders on our own crops: `python -m training.encoders`

For each encoder whose weights are here: the mean raw embedding over the clean portraits (subtracted before
cosines), and the cosine thresholds at FAR 1e-2 and 1e-3 on the impostor pairs of the development set, which
are evaluated, never trained on. Also fits the linear gender-presentation score on the public-domain
portraits. Writes bundle/encoders/*.json.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from core.networks import dlib, facenet
from core.networks.bundle import PACKAGED
from core.networks.encoder import Encoder
from training import portraits

FARS = (1e-2, 1e-3)
# dlib's five-point chip in terms of MTCNN landmarks, measured on 200 faces, px of 150.
DLIB_TEMPLATE = ((48.05, 45.68), (101.42, 45.58), (75.06, 79.30), (50.98, 102.39), (98.47, 102.07))
# Where MTCNN's own box puts the landmarks (60 portraits and their mirror images), px of 160: the crop that
# facenet-pytorch's networks were trained on.
FACENET_TEMPLATE = ((43.9, 62.1), (116.1, 62.1), (80.0, 93.4), (44.1, 117.3), (115.9, 117.3))
# Not measurable without the weights: figures used with these networks in published evaluations (AMT-GAN's
# protocol: FaceNet, FAR 1e-2 and 1e-3), valid for another crop. Run this script where the weights are.
FACENET_PUBLISHED = {"0.01": 0.409131, "0.001": 0.591191}


def embed(encoder: Encoder, images: Tensor, landmarks: Tensor) -> Tensor:
    """Identity vectors of uint8 images (N, 3, 256, 256)."""
    parts = [
        encoder.identity(images[i : i + 32].float() / 255, landmarks[i : i + 32]) for i in range(0, len(images), 32)
    ]
    return torch.cat(parts)


def pairs() -> tuple[Tensor, Tensor]:
    """Development pairs: uint8 images (2N, 3, 256, 256), every `a` then every `b`; landmarks (2N, 5, 2)."""
    folder = portraits.data_folder() / "celebahq_pairs"
    with (folder / "pairs.csv").open(newline="", encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    with (folder / "landmarks.csv").open(newline="", encoding="utf-8") as table:
        marks = {r[0]: [float(v) for v in r[1:]] for r in list(csv.reader(table))[1:]}
    files = [r["a"] for r in rows] + [r["b"] for r in rows]
    images = np.stack([np.asarray(Image.open(folder / f).convert("RGB")) for f in files])
    return torch.from_numpy(images).permute(0, 3, 1, 2), torch.tensor([marks[f] for f in files]).view(-1, 5, 2)


def thresholds(encoder: Encoder, images: Tensor, landmarks: Tensor) -> dict[str, object]:
    """Cosine thresholds, true-accept rates and mean scores on the pairs."""
    vectors = embed(encoder, images, landmarks)
    n = len(vectors) // 2
    scores = (vectors[:n] @ vectors[n:].T).double().numpy()
    same = np.eye(n, dtype=bool)
    cuts = {f"{far:g}": round(float(np.quantile(scores[~same], 1 - far)), 5) for far in FARS}
    tar = {far: round(float((scores[same] >= cut).mean()), 4) for far, cut in cuts.items()}
    return {
        "thresholds": cuts,
        "tar": tar,
        "genuine_mean": round(float(scores[same].mean()), 4),
        "source": f"{n} development pairs, this crop",
    }


def calibrate(name: str, net: nn.Module, template: Tensor, size: tuple[int, int], dim: int) -> Encoder:
    """An encoder centred on the clean portraits."""
    rows = portraits.read(("us_house", "us_senate", "london_set"))
    images = torch.from_numpy(np.stack([r.pixels() for r in rows])).permute(0, 3, 1, 2)
    marks = torch.tensor(np.stack([r.landmarks for r in rows]), dtype=torch.float32)
    encoder = Encoder(name, net, template, size, torch.zeros(dim), {}).eval()
    with torch.no_grad():
        raw = [
            encoder.net(encoder.crops(images[i : i + 32].float() / 255, marks[i : i + 32]))
            for i in range(0, len(images), 32)
        ]
    encoder.centre = torch.cat(raw).mean(0)
    return encoder


def fit_presentation(encoder: Encoder) -> dict[str, object]:
    """Ridge regression of the sources' gender column (-1 female, +1 male) on identity vectors."""
    rows = [r for r in portraits.read(portraits.PUBLIC_DOMAIN) if r.gender]
    images = torch.from_numpy(np.stack([r.pixels() for r in rows])).permute(0, 3, 1, 2)
    marks = torch.tensor(np.stack([r.landmarks for r in rows]), dtype=torch.float32)
    X = embed(encoder, images, marks).double()
    y = torch.tensor([1.0 if r.gender == "male" else -1.0 for r in rows], dtype=torch.float64)
    # Each gender weighs the same, whatever the share of men among politicians.
    weight = torch.where(y > 0, 0.5 / (y > 0).double().mean(), 0.5 / (y < 0).double().mean())
    A = torch.cat((X, torch.ones(len(X), 1, dtype=torch.float64)), 1)
    held_out = torch.arange(len(A)) % 5 == 0
    ridge = 0.5 * torch.eye(A.shape[1], dtype=torch.float64)

    def fit(use: Tensor) -> Tensor:
        W = A[use] * weight[use, None]
        solved: Tensor = torch.linalg.solve(A[use].T @ W + ridge, W.T @ y[use])
        return solved

    accuracy = float((torch.sign(A[held_out] @ fit(~held_out)) == y[held_out]).double().mean())
    solution = fit(torch.ones(len(A), dtype=torch.bool))
    return {
        "encoder": encoder.name,
        "weight": [round(v, 6) for v in solution[:-1].tolist()],
        "bias": round(float(solution[-1]), 6),
        "held_out_accuracy": round(accuracy, 4),
    }


def write(path: Path, encoder: Encoder, measured: dict[str, object]) -> None:
    facts = {
        "template": [[round(v, 3) for v in p] for p in encoder.template.tolist()],
        "size": list(encoder.size),
        **measured,
        "centre": [round(v, 6) for v in encoder.centre.tolist()],
    }
    path.write_text(json.dumps(facts) + "\n", encoding="utf-8")
    print(path.name, measured, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=PACKAGED / "encoders")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    images, landmarks = pairs()
    net = dlib.load(dlib.packaged_file())
    encoder = calibrate("dlib", net, torch.tensor(DLIB_TEMPLATE), (dlib.CHIP, dlib.CHIP), dlib.EMBEDDING)
    write(args.out / "dlib.json", encoder, thresholds(encoder, images, landmarks))
    presentation = fit_presentation(encoder)
    (args.out / "presentation.json").write_text(json.dumps(presentation) + "\n", encoding="utf-8")
    print("presentation: held-out accuracy", presentation["held_out_accuracy"], flush=True)
    for name in facenet.FILES:
        template, weights = torch.tensor(FACENET_TEMPLATE), facenet.weights_file(name)
        if weights:
            encoder = calibrate(name, facenet.load(weights), template, (160, 160), 512)
            write(args.out / f"{name}.json", encoder, thresholds(encoder, images, landmarks))
        else:
            encoder = Encoder(name, nn.Identity(), template, (160, 160), torch.zeros(512), {})
            measured: dict[str, object] = {
                "thresholds": FACENET_PUBLISHED,
                "source": "published, another crop; not measured here",
            }
            write(args.out / f"{name}.json", encoder, measured)


if __name__ == "__main__":
    main()
