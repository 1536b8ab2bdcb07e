"""Train the generator of PerceptFace: `python -m training.perceptface --minutes 90`

Two secrets for each portrait. In both results networks are to read somebody else than the source, and in one somebody
else than in the other, while an eye sees little change. How much a change costs is not a setting: the balance rises
while machines are misled and falls while they are not, so that the picture is as good as the promise allows.
Surrogates and teachers are asked, a few at a time. Checkpoints every few minutes and goes on from there; at the end the
average goes into the packaged bundle; run `training.manifest` then.
"""

from __future__ import annotations

import argparse
import json
import time
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from core import objectives
from core.methods.perceptface import Config, render
from core.networks import Encoder, Networks
from core.networks.bundle import PACKAGED
from core.networks.generator import Generator
from core.stages.decouple import change_masks, region_weights
from core.stages.optimise import draw
from core.stages.recompose import encode
from training import muon, portraits, schedule, teachers

FOLDER = Path(".work/perceptface")
SOURCES = ("us_house", "us_senate", "london_set", "omi_synthetic", "omi_edits")
BATCH, ASKED = 4, 3  # portraits and encoders a step
STEP, RATE, DECAY = 0.005, 5e-4, 0.0
WARM_UP, FALLING = 50, 0.4  # steps; share of the time
EDGES = ("enter", "leave", "mapping.0")
AVERAGING = 0.998
HELD_OUT = 64  # portraits
TEXTURE = 0.3  # weight of fine detail
# Cosines to the source, and to the other secret's result, that are low enough, in shares of an encoder's threshold at
# FAR 1e-2; the mean excess over the first to be reached; and the weight of the excess over the second.
FLOOR, APART, EXCESS, LINKED = 0.5, 1.0, 0.04, 0.2
BALANCE, PATIENCE = (0.25, 1.0), 0.01  # where lambda may go; how fast it moves, log a step


@dataclass
class Faces:
    """images uint8 (N, 3, 256, 256), landmarks (N, 5, 2)."""

    images: Tensor
    landmarks: Tensor

    def rows(self, index: Tensor) -> tuple[Tensor, Tensor]:
        return self.images[index].float() / 255, self.landmarks[index]


def read() -> tuple[Faces, Faces]:
    """Training faces and held-out ones."""
    rows = portraits.read(SOURCES)
    images = torch.from_numpy(np.stack([r.pixels() for r in rows])).permute(0, 3, 1, 2).contiguous()
    marks = torch.tensor(np.stack([r.landmarks for r in rows]), dtype=torch.float32)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    held, kept = order[:HELD_OUT], order[HELD_OUT:]
    return Faces(images[kept], marks[kept]), Faces(images[held], marks[held])


Known = tuple[Any, float]  # an encoder, and its threshold at FAR 1e-2


@dataclass
class Losses:
    """By face: how far machines are from being misled, how alike the two results are, how much is seen."""

    excess: Tensor
    linked: Tensor
    seen: Tensor


def losses(
    net: Generator, x: Tensor, landmarks: Tensor, networks: Networks, encoders: list[Known], g: torch.Generator
) -> Losses:
    config = Config()
    with torch.no_grad():
        z = encode(x, networks.autoencoder)
        identity = _dlib(networks).identity(x, landmarks)
        own = [e.embed(x, landmarks) for e, _ in encoders]
    M, regions = change_masks(landmarks), region_weights(landmarks)
    secrets = torch.randn(2, len(x), net.secret_dim, generator=g).to(x)
    shown = [render(x, M, z, net(z, identity, secret), networks.autoencoder) for secret in secrets]
    seen = torch.stack([_seen(s, x, M, regions) for s in shown]).mean(0)
    drawn = [draw(s, landmarks, config.jitter, g) for s in shown]
    excess, linked = [], []
    for (encoder, threshold), e in zip(encoders, own, strict=True):
        one, two = (encoder.embed(*d) for d in drawn)
        excess += [((v * e).sum(1) - FLOOR * threshold).clamp_min(0) for v in (one, two)]
        linked.append(((one * two).sum(1) - APART * threshold).clamp_min(0))
    return Losses(torch.stack(excess).mean(0), torch.stack(linked).mean(0), seen)


def _seen(shown: Tensor, x: Tensor, M: Tensor, regions: Tensor) -> Tensor:
    return objectives.perceived_distance(shown, x, M, regions) + TEXTURE * objectives.texture_change(shown, x, M)


def _dlib(networks: Networks) -> Any:
    return next(e for e in networks.encoders if e.name == "dlib")


@dataclass
class Run:
    net: Generator
    average: Generator
    optimisers: tuple[muon.Muon, torch.optim.AdamW]
    balance: float = BALANCE[0]
    step: int = 0
    minutes: float = 0.0

    @classmethod
    def start(cls, device: torch.device) -> Run:
        net = Generator()
        facts: dict[str, Any] = {}
        if (FOLDER / "facts.json").is_file():
            net.load_state_dict(load_file(FOLDER / "now.safetensors"))
            facts = json.loads((FOLDER / "facts.json").read_text(encoding="utf-8"))
        average = deepcopy(net)
        if facts:
            average.load_state_dict(load_file(FOLDER / "average.safetensors"))
        net, average = (part.to(device) for part in (net, average))
        average.eval().requires_grad_(False)
        return cls(net, average, muon.optimisers(net, EDGES, STEP, RATE, DECAY), **facts)

    def learn(self, found: Losses, share: float) -> None:
        muon.scale(self.optimisers, share, STEP, RATE)
        excess = found.excess.mean()
        self.net.zero_grad()
        (excess + LINKED * found.linked.mean() + self.balance * found.seen.mean()).backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
        misled = float(excess.detach()) < EXCESS
        self.balance = float(np.clip(self.balance * np.exp(PATIENCE if misled else -PATIENCE), *BALANCE))
        self.step += 1
        keep = min(AVERAGING, self.step / (self.step + 10))
        for slow, now in zip(self.average.parameters(), self.net.parameters(), strict=True):
            slow.data.lerp_(now.data, 1 - keep)

    def save(self) -> None:
        FOLDER.mkdir(parents=True, exist_ok=True)
        for part, name in ((self.net, "now"), (self.average, "average")):
            state = {k: v.detach().cpu().contiguous() for k, v in part.state_dict().items()}
            save_file(state, FOLDER / f"{name}.safetensors")
        facts = {"balance": self.balance, "step": self.step, "minutes": round(self.minutes, 1)}
        (FOLDER / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


@torch.no_grad()
def evaluate(net: Generator, faces: Faces, networks: Networks) -> dict[str, float]:
    """Mean losses on held-out faces; `referee`: the mean excess that a network which nothing learns from sees."""
    sums: dict[str, list[float]] = {"excess": [], "linked": [], "seen": [], "referee": []}
    g = torch.Generator().manual_seed(0)
    for index in torch.arange(len(faces.images)).split(8):
        x, marks = (v.to(networks.device) for v in faces.rows(index))
        found = losses(net, x, marks, networks, with_threshold(networks.surrogates), g)
        asked = losses(net, x, marks, networks, with_threshold(networks.referees), g)
        for name, values in (
            ("excess", found.excess), ("linked", found.linked), ("seen", found.seen), ("referee", asked.excess)
        ):  # fmt: skip
            sums[name] += values.tolist()
    return {name: round(float(np.mean(values)), 4) for name, values in sums.items()}


def with_threshold(encoders: tuple[Encoder, ...]) -> list[Known]:
    return [(e, e.thresholds[1e-2]) for e in encoders]


def train(run: Run, networks: Networks, minutes: float) -> None:
    faces, held_out = read()
    print(f"{len(faces.images)} faces to train on, {len(held_out.images)} held out", flush=True)
    known = with_threshold(networks.surrogates)
    known += [(net, cuts[1e-2]) for net, cuts in teachers.networks("teacher")]
    g = torch.Generator().manual_seed(int(time.time()))
    earlier, seen = run.minutes, []
    for tick in schedule.ticks(minutes, WARM_UP, FALLING):
        run.minutes = earlier + tick.minutes
        x, marks = faces.rows(torch.randint(len(faces.images), (BATCH,), generator=g))
        asked = [known[k] for k in torch.randperm(len(known), generator=g)[:ASKED].tolist()]
        found = losses(run.net, x.to(networks.device), marks.to(networks.device), networks, asked, g)
        run.learn(found, tick.share)
        seen.append([float(v.detach().mean()) for v in (found.excess, found.linked, found.seen)])
        if tick.report:
            excess, linked, visible = np.mean(seen, 0)
            print(
                f"{run.minutes:6.1f} min step {run.step} excess {excess:.4f} linked {linked:.4f} seen {visible:.4f} "
                f"balance {run.balance:.3f}",
                flush=True,
            )
            seen = []
        if tick.save:
            run.save()
            print(f"{run.minutes:6.1f} min held out {evaluate(run.average, held_out, networks)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=90)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    networks = Networks.load()
    run = Run.start(networks.device)
    train(run, networks, args.minutes)
    run.average.save_pretrained(PACKAGED / "generator")


if __name__ == "__main__":
    main()
