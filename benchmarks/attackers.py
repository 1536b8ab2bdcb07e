"""Attackers who own pairs of a protected photo and its original, and learn from them to read or to draw originals.

Whoever has the program makes as many pairs as there is time for, so pairs are the least that an attacker has.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from diffusers import UNet2DModel
from rich.progress import track
from torch import Tensor, nn

from benchmarks.protected import Original
from benchmarks.strangers import Pixels, to_images
from core.networks import Encoder, Networks
from core.stages.latents import decode, encode
from core.stages.optimise import Jitter, draw


@dataclass(frozen=True, slots=True)
class Course:
    """How somebody learns. rounds: how often a pair is seen at least, on average, whatever the steps."""

    steps: int
    batch: int
    rate: float
    rounds: int
    decay: float = 1e-2

    def length(self, pairs: int) -> int:
        return max(self.steps, self.rounds * pairs // self.batch)


READING = Course(steps=160, batch=32, rate=3e-4, rounds=10)
DRAWING = Course(steps=80, batch=16, rate=1e-3, rounds=2)
TEMPERATURE = 0.1
JITTER = Jitter(shift=1.5, scale=0.02, angle=0.02, light=0.1, blur=1.0)
LIKENESS = 0.2  # what a unit of cosine counts beside a unit of mean absolute difference


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
        x, y = to_images([image for image, _ in found]), to_images([o.pixels for _, o in found])
        return cls(x, y, torch.stack([o.marks for _, o in found]))

    def __len__(self) -> int:
        return len(self.marks)


def reader(start: Encoder, owned: Owned, seed: int = 0) -> Encoder:
    """An encoder that reads in protected photos what `start` reads in their originals.

    It learns to tell each person from the others of its batch, and to come as near to the original as it can. seed: of
    the order of pairs and of how they are distorted.
    """
    generator = torch.Generator().manual_seed(seed)
    learner = copy.deepcopy(start).requires_grad_(True).eval()  # the batches are too few for their own statistics
    targets = start.identity(owned.original, owned.marks)
    optimiser = torch.optim.AdamW(learner.parameters(), READING.rate, weight_decay=READING.decay)
    steps = READING.length(len(owned))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, READING.rate, steps)
    for _ in track(range(steps), f"{len(owned)} pairs, recogniser"):
        rows = torch.randperm(len(owned), generator=generator)[: READING.batch]
        seen, marks = draw(owned.protected[rows], owned.marks[rows], JITTER, generator)
        cosines = learner.embed(seen, marks) @ targets[rows].T
        loss = F.cross_entropy(cosines / TEMPERATURE, torch.arange(len(rows))) + 1 - cosines.diagonal().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return learner.requires_grad_(False)


class Decoder(nn.Module):
    """Protected faces -> what their originals may have looked like: a correction of the latent. RGB in [0, 1]."""

    def __init__(self, networks: Networks) -> None:
        super().__init__()
        self.autoencoder = networks.autoencoder
        channels = encode(torch.zeros(1, 3, 256, 256), networks.autoencoder).shape[1]
        net = UNet2DModel(
            in_channels=channels, out_channels=channels, block_out_channels=(64, 96, 128), layers_per_block=1,
            down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"), norm_num_groups=16,
        )  # fmt: skip
        self.net = cast(nn.Module, net)
        for weights in self.net.get_submodule("conv_out").parameters():
            nn.init.zeros_(weights)  # nothing is corrected at first

    def corrected(self, z: Tensor) -> Tensor:
        """Latents of the original."""
        change: Tensor = self.net(z, 0).sample
        return z + change

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        parts = (self.corrected(encode(x, self.autoencoder)) for x in images.split(DRAWING.batch))
        return torch.cat([decode(z, self.autoencoder).clamp(0, 1) for z in parts])


def decoder(owned: Owned, eye: Encoder, networks: Networks) -> Decoder:
    """Learns to draw originals, and to draw them so that `eye` reads the person."""
    torch.manual_seed(0)  # weights are drawn without a generator
    learner, generator = Decoder(networks), torch.Generator().manual_seed(0)
    with torch.no_grad():
        z, goal = (torch.cat([encode(x, networks.autoencoder) for x in v.split(DRAWING.batch)])
                   for v in (owned.protected, owned.original))  # fmt: skip
        person = eye.identity(owned.original, owned.marks)
    optimiser = torch.optim.AdamW(learner.net.parameters(), DRAWING.rate, weight_decay=DRAWING.decay)
    steps = DRAWING.length(len(owned))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, DRAWING.rate, steps)
    for _ in track(range(steps), f"{len(owned)} pairs, decoder"):
        rows = torch.randperm(len(owned), generator=generator)[: DRAWING.batch]
        drawn = learner.corrected(z[rows])
        image = decode(drawn, networks.autoencoder)
        alike = (eye.embed(image.clamp(0, 1), owned.marks[rows]) * person[rows]).sum(1).mean()
        loss = (drawn - goal[rows]).abs().mean() / 4 + (image - owned.original[rows]).abs().mean() * 4
        loss = loss + LIKENESS * (1 - alike)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return learner.requires_grad_(False)
