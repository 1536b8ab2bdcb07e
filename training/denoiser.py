"""Train the conditional denoiser on portraits: `python -m training.denoiser --minutes 60`

A portrait's latents, noised, are to be denoised under tokens of its identity (dlib's vector) and of its appearance. The
appearance is read from another photo or edit of the same person where there is one, else from the same photo with its
features hidden, so that it cannot carry who it is. Checkpoints every few minutes and goes on from there. Each
checkpoint also gives the error on people who were held out, by noise level: where it departs from that on the training
faces, the network has learned them by heart. At the end the average goes into the packaged bundle; run
`training.manifest` then.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import AttnProcessor
from rich.progress import track
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from core.networks import Networks, warp
from core.networks.bundle import PACKAGED
from core.networks.denoiser import Denoiser, make
from core.stages.latents import encode
from training import checkpoint, muon, pairs, portraits, schedule
from training.precision import fast

FOLDER = Path(".work/denoiser")
COLOUR = ("us_house", "us_senate", "london_set", "omi_synthetic", "omi_edits")
BATCH = 16
STEP, RATE, DECAY = 0.01, 1e-3, 0.01  # of Muon; of AdamW
WARM_UP, FALLING = 100, 0.5  # steps; share of the time
EDGES = ("unet.conv_in", "unet.conv_out", "unet.time_embedding", "conditioner.place", "conditioner.null")
AVERAGING = 0.999
ABSENT = 0.15  # chance of each condition to be left out
LEVELS = (100, 300, 500, 700)


@dataclass
class Faces:
    """images uint8 (N, 3, 256, 256), landmarks (N, 5, 2), identity vectors (N, d), rows of the same person."""

    images: Tensor
    landmarks: Tensor
    vectors: Tensor
    mates: list[list[int]]

    def __len__(self) -> int:
        return len(self.images)


def read(networks: Networks) -> tuple[Faces, Faces]:
    """Training faces and held-out ones, no person in both."""
    rows = portraits.read(COLOUR)
    images = torch.from_numpy(np.stack([r.pixels() for r in rows])).permute(0, 3, 1, 2).contiguous()
    marks = torch.tensor(np.stack([r.landmarks for r in rows]), dtype=torch.float32)
    vectors = _identities(networks, images, marks)
    people: dict[str, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        people[row.identity].append(i)
    held = portraits.held_out(people)
    parts = []
    for wanted in (False, True):
        index = [i for i, row in enumerate(rows) if (row.identity in held) == wanted]
        where = {i: n for n, i in enumerate(index)}
        mates = [[where[j] for j in people[rows[i].identity] if j != i] for i in index]
        parts.append(Faces(images[index], marks[index], vectors[index], mates))
    return parts[0], parts[1]


def _identities(networks: Networks, images: Tensor, marks: Tensor) -> Tensor:
    path = FOLDER / "identities.safetensors"
    if not path.is_file():
        (dlib,) = (e for e in networks.encoders if e.name == "dlib")
        groups = list(zip(images.split(32), marks.split(32), strict=True))
        vectors = torch.cat([pairs.embed(dlib, x, m) for x, m in track(groups, "identities")])
        FOLDER.mkdir(parents=True, exist_ok=True)
        save_file({"vectors": vectors}, path)
    return load_file(path)["vectors"]


@dataclass
class Batch:
    z: Tensor
    vectors: Tensor
    looks: Tensor


def draw(faces: Faces, networks: Networks, generator: torch.Generator, device: torch.device) -> Batch:
    """Latents of faces in slightly changed frames and light, their identities, and pictures of their appearance."""
    index = torch.randint(len(faces), (BATCH,), generator=generator)
    mates = [faces.mates[i] for i in index.tolist()]
    other = [m[int(torch.randint(len(m), (), generator=generator))] if m else -1 for m in mates]
    x = _reframed(faces.images[index].float() / 255, generator)
    alone = torch.tensor([o < 0 for o in other])
    looks = x.clone()
    seen = [o for o in other if o >= 0]
    if seen:
        looks[~alone] = _reframed(faces.images[seen].float() / 255, generator)
    looks = _hidden(looks, alone, generator)
    mirror = torch.rand(BATCH, 1, 1, 1, generator=generator) < 0.5
    x, looks = (torch.where(mirror, v.flip(-1), v) for v in (x, looks))
    with torch.no_grad():
        z = encode(x.to(device), networks.autoencoder)
    return Batch(z, faces.vectors[index].to(device), looks.to(device))


def _reframed(x: Tensor, g: torch.Generator) -> Tensor:
    """Moved, scaled and turned a little; brighter or darker, with a cast."""
    n = len(x)
    angle = torch.randn(n, generator=g) * 0.04
    scale = torch.exp(torch.randn(n, generator=g) * 0.05)
    matrix = warp.turned(angle, scale, torch.full((n, 2), 127.5), torch.randn(n, 2, generator=g) * 6)
    moved = warp.sample(x, matrix, (256, 256), "border")
    light = torch.exp(torch.randn(n, 1, 1, 1, generator=g) * 0.15 + torch.randn(n, 3, 1, 1, generator=g) * 0.05)
    return (moved * light).clamp(0, 1)


def _hidden(looks: Tensor, alone: Tensor, g: torch.Generator) -> Tensor:
    """A picture of the very same photo shows its features only in parts: a gray disc hides eyes, nose or mouth."""
    y, x = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="ij")
    places = torch.tensor([[96.0, 118.0], [160.0, 118.0], [128.0, 155.0], [128.0, 188.0]])
    hide = torch.rand(len(looks), 4, generator=g) < 0.5
    for k, (cx, cy) in enumerate(places.tolist()):
        disc = ((x - cx) ** 2 + (y - cy) ** 2) < 30**2
        rows = (alone & hide[:, k])[:, None, None, None]
        looks = torch.where(rows & disc, looks.mean((2, 3), keepdim=True), looks)
    return looks


def loss_of(net: Denoiser, batch: Batch, t: Tensor, g: torch.Generator, absent: float) -> Tensor:
    """Squared error of the predicted velocity (Salimans and Ho 2022, arXiv:2202.00512), by row."""
    n = len(batch.z)
    noise = torch.randn(batch.z.shape, generator=g).to(batch.z)
    steps = cast(torch.IntTensor, t)
    noisy, target = net.scheduler.add_noise(batch.z, noise, steps), net.scheduler.get_velocity(batch.z, noise, steps)
    keep = tuple((torch.rand(n, generator=g) >= absent).to(batch.z.device) for _ in range(2))
    with fast(batch.z.device):
        tokens = net.conditioner(batch.vectors, batch.looks, n, (keep[0], keep[1]))
        said = net.predict(noisy, t, tokens)
    return F.mse_loss(said.float(), target, reduction="none").mean((1, 2, 3))


@dataclass
class Run:
    net: Denoiser
    average: Denoiser
    optimisers: tuple[muon.Muon, torch.optim.AdamW]
    step: int = 0
    minutes: float = 0.0

    @classmethod
    def start(cls, networks: Networks, device: torch.device) -> Run:
        net, average = (make(16, 32, 128) for _ in range(2))
        before = checkpoint.resume(FOLDER, modules(net), modules(average))
        if before is None:
            begin = networks.denoiser or net
            for part in (net, average):
                modules(part).load_state_dict(modules(begin).state_dict())
        for part in (net, average):
            modules(part).to(device)
            cast(nn.Module, part.unet).to(memory_format=torch.channels_last)
            part.unet.set_attn_processor(AttnProcessor())  # on a CPU fused attention's backward pass is slow
        modules(average).eval().requires_grad_(False)
        optimisers = muon.optimisers(modules(net), EDGES, STEP, RATE, DECAY)
        return cls(net, average, optimisers, *(before or (0, 0.0)))

    def learn(self, batch: Batch, share: float, g: torch.Generator) -> float:
        muon.scale(self.optimisers, share, STEP, RATE)
        # Data is small and recomposition starts from a picture: low noise is practised more often.
        t = (torch.rand(BATCH, generator=g) ** 1.5 * 1000).long().to(batch.z.device)
        loss = loss_of(self.net, batch, t, g, ABSENT).mean()
        modules(self.net).zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(modules(self.net).parameters(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
        self.step += 1
        checkpoint.follow(modules(self.average), modules(self.net), self.step, AVERAGING)
        return float(loss.detach())

    def save(self) -> None:
        checkpoint.save(FOLDER, modules(self.net), modules(self.average), self.step, self.minutes)


def modules(net: Denoiser) -> nn.ModuleDict:
    return nn.ModuleDict({"unet": net.unet, "conditioner": net.conditioner})


@torch.no_grad()
def errors(net: Denoiser, faces: Faces, networks: Networks, device: torch.device, batches: int = 6) -> dict[int, float]:
    """Mean loss at each of LEVELS, the same draws at every call."""
    out: dict[int, list[float]] = {level: [] for level in LEVELS}
    g = torch.Generator().manual_seed(0)
    for _ in range(batches):
        batch = draw(faces, networks, g, device)
        for level, found in out.items():
            t = torch.full((BATCH,), level, device=device)
            found.append(float(loss_of(net, batch, t, g, 0.0).mean()))
    return {level: round(float(np.mean(found)), 4) for level, found in out.items()}


def train(run: Run, networks: Networks, minutes: float, device: torch.device) -> None:
    faces, held_out = read(networks)
    print(f"{len(faces)} faces to train on, {len(held_out)} held out", flush=True)
    g = torch.Generator().manual_seed(int(time.time()))
    earlier, losses = run.minutes, []
    for tick in schedule.ticks(minutes, WARM_UP, FALLING):
        run.minutes = earlier + tick.minutes
        losses.append(run.learn(draw(faces, networks, g, device), tick.share, g))
        if tick.report:
            print(f"{run.minutes:6.1f} min step {run.step} loss {np.mean(losses):.4f}", flush=True)
            losses = []
        if tick.save:
            run.save()
            for name, some in (("training", faces), ("held out", held_out)):
                print(f"{run.minutes:6.1f} min {name} {errors(run.average, some, networks, device)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    networks = Networks.load()
    run = Run.start(networks, networks.device)
    train(run, networks, args.minutes, networks.device)
    run.average.save(PACKAGED / "denoiser")


if __name__ == "__main__":
    main()
