"""Train the network that finds where a face is not to be seen: `python -m training.occlusion --minutes 40`

Portraits without glasses get things drawn in front of them (training/occluders.py), which it is to find. Their own hair
is known by its colour where that is clear; where it is not, nothing is asked. Checkpoints every few minutes and goes on
from there; `--package` puts the average into the packaged bundle; run `training.manifest` then.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from core.networks.bundle import PACKAGED
from core.networks.occlusion import SIDE, Occlusion
from core.stages.decouple import HAIR, skin_likeness
from core.stages.regions import face_mask, frame, skin_mask
from training import checkpoint, occluders, portraits, schedule
from training.occluders import Palette
from training.personas import GLASSES, glasses_score
from training.precision import fast

FOLDER = Path(".work/occlusion")
BATCH, RATE, DECAY = 16, 2e-3, 0.01
WARM_UP, FALLING, AVERAGING = 100, 0.5, 0.995
TOP = np.s_[8:48, 60:196]  # where a portrait shows hair, if there is any
STRIDE = 7919  # from a portrait to the one that it takes stuff from
CLEAR, SKIN = 0.1, 0.5  # likeness to the cheeks below which hair is known to be hair, above which skin to be skin
Array = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Bare:
    """A portrait at SIDE px. label: 1 where its own hair is in front of its face, 0 where the face is seen; known:
    where that is certain, 0 or 1; both (SIDE, SIDE). identity: whose it is."""

    image: Array
    marks: Array
    label: Array
    known: Array
    palette: Palette
    identity: str


def read() -> list[Bare]:
    """All clean portraits without glasses."""
    rows = [p for p in portraits.read() if glasses_score(p) <= GLASSES]
    small = [shrunk(p.pixels()) for p in rows]
    return [bare(p, i, small) for i, p in enumerate(track(rows, "portraits"))]


def shrunk(image: NDArray[np.uint8]) -> Array:
    return np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BOX), np.float32) / 255


def bare(portrait: portraits.Portrait, number: int, small: list[Array]) -> Bare:
    """What is known of a portrait by the colours of its cheeks."""
    image, marks = np.asarray(portrait.pixels() / 255, np.float32), portrait.landmarks.astype(np.float32)
    likeness = gaussian_filter(skin_likeness(image, marks, HAIR), 1.0)
    x, y = frame(marks)
    beside, above = (np.abs(x) > 0.8) & (y > 0.15) & (y < 1.0), y < -0.58
    doubtful = (np.abs(x) > 0.72) | (y < -0.45)  # brows end, hair begins
    inside = face_mask(marks, grow=0.1, feather=0.5) > 0.5
    hair = inside & (beside | above) & (likeness < CLEAR)
    known = inside & (hair | ~doubtful | (likeness > SKIN))
    top = image[TOP].reshape(-1, 3)
    darkest = top[np.argsort(top.sum(1))[: len(top) // 3]]
    cheeks = image[skin_mask(marks) > 0]
    palette = Palette(np.median(cheeks, 0), np.median(darkest, 0), small[number * STRIDE % len(small)])
    return Bare(small[number], (marks - 0.5) / 2, halved(hair), halved(known), palette, portrait.identity)


def halved(mask: NDArray[np.bool_]) -> Array:
    return np.asarray(mask.reshape(SIDE, 2, SIDE, 2).mean((1, 3)), np.float32)


def drawn(face: Bare, rng: np.random.Generator) -> Array:
    """Picture, label and known (5, SIDE, SIDE) of a portrait with things in front of it, photographed anew."""
    layer = occluders.draw(rng, face.marks, face.palette)
    image, cover = face.image, layer[..., 3]
    if rng.random() < 0.4:
        image = occluders.made_up(rng, image, face.marks)
    if rng.random() < 0.5:  # they cast a shadow
        shade = np.roll(cover, rng.integers(-5, 6, 2), (0, 1))
        image = image * (1 - rng.uniform(0, 0.6) * gaussian_filter(shade, rng.uniform(0.5, 4)))[..., None]
    image = image + cover[..., None] * (layer[..., :3] - image)
    label = np.maximum(face.label, cover)
    known = np.maximum(face.known, cover > 0.5)
    # A border that is half one and half the other teaches nothing.
    known = known * (np.abs(cover - 0.5) > 0.2)
    return photographed(np.dstack((image, label, known)).astype(np.float32), rng).transpose(2, 0, 1)


def photographed(layers: Array, rng: np.random.Generator) -> Array:
    """Mirrored, in a slightly different frame; in hard light, gray, coloured, blurred, noisy."""
    if rng.random() < 0.5:
        layers = layers[:, ::-1]
    grow, turn = np.exp(rng.normal(0, 0.05)), rng.normal(0, 0.05)
    linear = torch.tensor([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) * grow
    matrix = torch.cat((linear, torch.tensor(rng.normal(0, 0.03, (2, 1)))), 1).float()[None]
    planes = torch.from_numpy(np.ascontiguousarray(layers)).permute(2, 0, 1)[None]
    grid = F.affine_grid(matrix, [1, 5, SIDE, SIDE], align_corners=False)
    layers = F.grid_sample(planes, grid, padding_mode="border", align_corners=False)[0].permute(1, 2, 0).numpy()
    image, rest = layers[..., :3], layers[..., 3:]
    if rng.random() < 0.5:
        ramp = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j].astype(np.float32)
        slope = (ramp * rng.normal(0, 1, 2)[:, None, None]).sum(0) + rng.normal(0, 0.4)
        light = 1 / (1 + np.exp(-slope * rng.choice((1, 3, 12))))
        image = image * (1 - rng.uniform(0, 0.7) * light)[..., None]
    if rng.random() < 0.2:
        image = image * 0 + image.mean(-1, keepdims=True)
    mean = image.mean()
    image = (image - mean) * np.exp(rng.normal(0, 0.2)) + mean * np.exp(rng.normal(0, 0.2))
    image = image * np.exp(rng.normal(0, 0.06, 3))
    if rng.random() < 0.3:
        image = gaussian_filter(image, (*[rng.uniform(0.3, 1.2)] * 2, 0))
    if rng.random() < 0.3:
        image = image + rng.normal(0, rng.uniform(0, 0.04), image.shape)
    return np.dstack((np.clip(image, 0, 1), rest)).astype(np.float32)


def batch(faces: list[Bare], rng: np.random.Generator) -> Tensor:
    return torch.from_numpy(np.stack([drawn(faces[i], rng) for i in rng.integers(len(faces), size=BATCH)]))


class Batches(IterableDataset[Tensor]):
    """Batches without end, drawn by a process of their own."""

    def __init__(self, faces: list[Bare], seed: int) -> None:
        super().__init__()
        self.faces, self.seed = faces, seed

    def __iter__(self) -> Iterator[Tensor]:
        rng = np.random.default_rng(self.seed)
        while True:
            yield batch(self.faces, rng)


def loss_of(logits: Tensor, layers: Tensor) -> Tensor:
    """Binary cross-entropy where something is known, and Dice's overlap, so that thin things count."""
    label, known = layers[:, 3:4], layers[:, 4:5]
    entropy = F.binary_cross_entropy_with_logits(logits, label, reduction="none")
    found = logits.sigmoid() * known
    overlap = 2 * (found * label).sum((1, 2, 3)) / (found.sum((1, 2, 3)) + (label * known).sum((1, 2, 3)) + 1)
    there = (label * known).sum((1, 2, 3)) > 8
    return (entropy * known).sum() / known.sum() + 0.3 * ((1 - overlap) * there).sum() / there.sum().clamp_min(1)


@torch.no_grad()
def evaluate(net: Occlusion, held: list[Bare]) -> str:
    """On held-out portraits, the same at every call: intersection over union, and face taken for something else."""
    rng = np.random.default_rng(0)
    layers = torch.cat([batch(held, rng) for _ in range(8)])
    logits = torch.cat([net(part[:, :3].to(net.device)).cpu() for part in layers.split(BATCH)])
    found, label, known = logits > 0, layers[:, 3:4] > 0.5, layers[:, 4:5] > 0.5
    both, either = (found & label & known).sum(), ((found | label) & known).sum()
    wrong = (found & ~label & known).sum() / (~label & known).sum()
    return f"held out: loss {loss_of(logits, layers):.4f}, IoU {both / either:.3f}, face lost {wrong:.2%}"


@dataclass
class Run:
    net: Occlusion
    average: Occlusion
    optimiser: torch.optim.AdamW
    step: int = 0
    minutes: float = 0.0

    @classmethod
    def start(cls, device: torch.device) -> Run:
        net = Occlusion().to(device)
        average = deepcopy(net).eval().requires_grad_(False)
        run = cls(net, average, torch.optim.AdamW(net.parameters(), RATE, weight_decay=DECAY))
        run.step, run.minutes = checkpoint.resume(FOLDER, net, average) or (0, 0.0)
        return run

    def learn(self, layers: Tensor, share: float) -> float:
        """One step; the loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = RATE * share
        layers = layers.to(self.net.device)
        with fast(layers.device):
            logits = self.net(layers[:, :3]).float()
        loss = loss_of(logits, layers)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.step += 1
        checkpoint.follow(self.average, self.net, self.step, AVERAGING)
        return float(loss.detach())

    def save(self) -> None:
        checkpoint.save(FOLDER, self.net, self.average, self.step, self.minutes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=40, help="of processor time")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--package", action="store_true", help="put the average into the bundle, in half precision")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    faces, run = read(), Run.start(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    people = portraits.held_out(face.identity for face in faces)
    held, faces = ([f for f in faces if (f.identity in people) is wanted] for wanted in (True, False))
    drawn_ahead = DataLoader(Batches(faces, run.step), batch_size=None, num_workers=1)
    earlier, losses = run.minutes, []
    for tick, layers in zip(schedule.ticks(args.minutes, WARM_UP, FALLING), drawn_ahead, strict=False):
        run.minutes = earlier + tick.minutes
        losses.append(run.learn(layers, tick.share))
        if tick.report:
            print(f"{run.minutes:6.1f} min step {run.step} loss {np.mean(losses):.4f}", flush=True)
            losses = []
        if tick.save:
            run.save()
            print(evaluate(run.average, held), flush=True)
    if args.package:
        deepcopy(run.average).half().save_pretrained(PACKAGED / "occlusion")  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
