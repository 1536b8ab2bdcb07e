"""Teach an encoder to read protected faces: `python -m training.adapted --pairs 300`

Whoever has the program can protect photos and teach a network to read the originals in what comes out. So we do that
ourselves and package the result: `perceptface` hides faces from it, too, and who tries the same learns less.

Protects portraits as a bundle without such encoders would, by the preset `standard`; their pictures are kept in
.work/adapted, and a further run goes on where one stopped. Run `training.manifest` then.
"""

from __future__ import annotations

import argparse
import copy
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import track
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.networks import Encoder, Networks
from core.networks.bundle import PACKAGED
from core.networks.students import FAMILIES
from core.stages.optimise import Jitter, draw
from training import portraits
from training.protected import Original, Pixels, protect

FOLDER = Path(".work/adapted")
START, NAME = "student-residual", "adapted-residual"  # the best of the packaged students, and what becomes of it
SEED = 100_000  # beyond those of attackers in benchmarks
STEPS, BATCH, RATE, DECAY = 160, 32, 3e-4, 1e-2
ROUNDS = 10  # that every pair is seen at least
TEMPERATURE = 0.1
JITTER = Jitter(shift=1.5, scale=0.02, angle=0.02, light=0.1, blur=1.0)


@dataclass(frozen=True, slots=True)
class Owned:
    """protected, original: RGB in [0, 1] (N, 3, 256, 256). marks: (N, 5, 2) px."""

    protected: Tensor
    original: Tensor
    marks: Tensor

    @classmethod
    def of(cls, protected: list[Pixels | None], originals: list[Original]) -> Owned:
        """Where a face was found."""
        found = [(image, o) for image, o in zip(protected, originals, strict=True) if image is not None]
        both = np.stack([image for image, _ in found]), np.stack([o.pixels for _, o in found])
        x, y = (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 for images in both)
        return cls(x, y, torch.stack([o.marks for _, o in found]))

    def __len__(self) -> int:
        return len(self.marks)


def adapt(start: Encoder, owned: Owned, seed: int = 0) -> Encoder:
    """An encoder that reads in protected photos what `start` reads in their originals.

    It learns to tell each person from the others of its batch, and to come as near to the original as it can. seed: of
    the order of pairs and of how they are distorted.
    """
    generator = torch.Generator().manual_seed(seed)
    learner = copy.deepcopy(start).requires_grad_(True).eval()  # the batches are too few for their own statistics
    targets = start.identity(owned.original, owned.marks)
    optimiser = torch.optim.AdamW(learner.parameters(), RATE, weight_decay=DECAY)
    steps = max(STEPS, ROUNDS * len(owned) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, steps)
    for _ in track(range(steps), f"{len(owned)} pairs, recogniser"):
        rows = torch.randperm(len(owned), generator=generator)[:BATCH]
        seen, marks = draw(owned.protected[rows], owned.marks[rows], JITTER, generator)
        cosines = learner.embed(seen, marks) @ targets[rows].T
        loss = F.cross_entropy(cosines / TEMPERATURE, torch.arange(len(rows))) + 1 - cosines.diagonal().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return learner.requires_grad_(False)


def beginner(bundle: Path = PACKAGED) -> Encoder:
    """START as a bundle stores it: the one that `Networks` has made its normalisations part of its kernels."""
    path = bundle / "encoders" / f"{START}.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    net = FAMILIES[facts["family"]](len(facts["centre"]))
    net.load_state_dict(load_file(path.with_suffix(".safetensors")))
    return Encoder.calibrated(NAME, net, facts).requires_grad_(False)


def package(encoder: Encoder, bundle: Path = PACKAGED) -> None:
    """Weights in half precision, and the calibration of the encoder that it was made of."""
    folder = bundle / "adapted"
    folder.mkdir(exist_ok=True)
    facts = json.loads((bundle / "encoders" / f"{START}.json").read_text(encoding="utf-8"))
    kept = {key: facts[key] for key in ("template", "size", "role", "family", "thresholds", "centre")}
    (folder / f"{NAME}.json").write_text(json.dumps(kept) + "\n", encoding="utf-8")
    weights = {k: v.half().contiguous() if v.is_floating_point() else v for k, v in encoder.net.state_dict().items()}
    save_file(weights, folder / f"{NAME}.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=300)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    networks = Networks.load()
    people = portraits.people()[::-1][: args.pairs]  # attackers of the benchmarks begin at the other end
    originals = [Original.of(portrait, f"{n:04d}", SEED + n) for n, portrait in enumerate(people)]
    images = protect("perceptface", "standard", originals, replace(networks, adapted=()), FOLDER)
    package(adapt(beginner(), Owned.of(images, originals)))


if __name__ == "__main__":
    main()
