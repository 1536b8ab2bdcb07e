"""Calibrate the encoders on our own crops: `python -m training.encoders`

For each encoder whose weights are here: the mean raw embedding over the clean portraits (subtracted before
cosines), and the cosine thresholds at FAR 1e-2 and 1e-3 on the impostor pairs of the development set, which
are evaluated, never trained on. Writes bundle/encoders/*.json. `--measure` takes the encoders as the bundle has them,
and measures their thresholds anew.
"""

from __future__ import annotations

import argparse
import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from core.errors import ConfigurationError
from core.licence import LicenceClass
from core.networks import Networks, dlib, facenet
from core.networks.bundle import PACKAGED
from core.networks.encoder import Crop, Encoder
from training import pairs, portraits, students

# dlib's five-point chip in terms of MTCNN landmarks, measured on 200 faces, px of 150.
DLIB = Crop(((48.05, 45.68), (101.42, 45.58), (75.06, 79.30), (50.98, 102.39), (98.47, 102.07)), (dlib.CHIP, dlib.CHIP))
# Where MTCNN's own box puts the landmarks (60 portraits and their mirror images), px of 160: the crop that
# facenet-pytorch's networks were trained on.
FACENET = Crop(((43.9, 62.1), (116.1, 62.1), (80.0, 93.4), (44.1, 117.3), (115.9, 117.3)), (160, 160))
# Not measurable without the weights: figures used with these networks in published evaluations (AMT-GAN's
# protocol: FaceNet, FAR 1e-2 and 1e-3), valid for another crop. Run this script where the weights are.
FACENET_PUBLISHED = {"0.01": 0.409131, "0.001": 0.591191}


def centre(encoder: Encoder) -> Encoder:
    """The encoder with its mean raw embedding of the clean colour portraits."""
    rows = portraits.read(("us_house", "us_senate", "london_set"))
    images = torch.from_numpy(np.stack([r.pixels() for r in rows])).permute(0, 3, 1, 2)
    marks = torch.tensor(np.stack([r.landmarks for r in rows]), dtype=torch.float32)
    parts = zip(images.split(32), marks.split(32), strict=True)
    with torch.no_grad():
        encoder.centre = torch.cat([encoder.net(encoder.crops(x.float() / 255, m)) for x, m in parts]).mean(0)
    return encoder.eval()


def as_facenet(name: str, weights: Path, role: str = "surrogate") -> Encoder:
    """Weights of InceptionResnetV1 behind their own crop; without thresholds.

    Raises:
        ConfigurationError: the file holds something else.
    """
    return centre(Encoder(name, facenet.load(weights), FACENET, torch.zeros(512), {}, role))


def optional_facenet(name: str) -> tuple[Encoder, dict[str, object]]:
    """An encoder of facenet-pytorch and its figures: measured where the weights are, else published."""
    weights = facenet.weights_file(name)
    if weights:
        encoder = as_facenet(name, weights)
        return encoder, pairs.Scores.of(encoder).summary()
    published: dict[str, object] = {
        "thresholds": FACENET_PUBLISHED,
        "source": "published, another crop; not measured here",
    }
    return Encoder(name, nn.Identity(), FACENET, torch.zeros(512), {}), published


def write(path: Path, encoder: Encoder, measured: dict[str, object]) -> None:
    facts = {
        "template": [[round(v, 3) for v in p] for p in encoder.template.tolist()],
        "size": list(encoder.size),
        "role": encoder.role,
        **measured,
        "centre": [round(v, 6) for v in encoder.centre.tolist()],
    }
    path.write_text(json.dumps(facts) + "\n", encoding="utf-8")
    print(path.name, measured, flush=True)


def remeasure(encoder: Encoder, path: Path) -> None:
    """Thresholds and rates of an encoder of a bundle, all else as it stands in its file."""
    facts = json.loads(path.read_text(encoding="utf-8"))
    measured = pairs.Scores.of(encoder).summary()
    path.write_text(json.dumps({k: measured.get(k, v) for k, v in facts.items()}) + "\n", encoding="utf-8")
    print(path.name, measured, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=PACKAGED)
    parser.add_argument("--measure", action="store_true", help="only thresholds, of the encoders in the bundle")
    args = parser.parse_args()
    if args.measure:
        found = {e.name: e for e in Networks.load(args.out).encoders}
        with suppress(ConfigurationError):  # not every bundle can do without the others
            # Clean weights have stand-ins of their own.
            found |= {e.name: e for e in Networks.load(args.out, licence_class=LicenceClass.clean).encoders}
        for name, encoder in found.items():
            remeasure(encoder, args.out / "encoders" / f"{name}.json")
        return
    folder = args.out / "encoders"
    folder.mkdir(parents=True, exist_ok=True)
    net = dlib.load(dlib.packaged_file())
    encoder = centre(Encoder("dlib", net, DLIB, torch.zeros(dlib.EMBEDDING), {}))
    write(folder / "dlib.json", encoder, pairs.Scores.of(encoder).summary())
    for name in facenet.FILES:
        write(folder / f"{name}.json", *optional_facenet(name))
    for kind, school in students.SCHOOLS.items():
        for name, weights in school.finished():
            save_file(weights, school.packaged(name, args.out))
            encoder = centre(school.as_encoder(name, school.load(name, school.packaged(name, args.out))))
            facts = {
                "family": school.lessons[name].family,
                "stand_in": kind == "clean",
                **pairs.Scores.of(encoder).summary(),
            }
            write(folder / f"{encoder.name}.json", encoder, facts)


if __name__ == "__main__":
    main()
