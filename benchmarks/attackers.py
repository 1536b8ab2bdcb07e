"""Attackers who own pairs of a protected photo and its original, and learn from them what the protection does.

Whoever has the program makes as many pairs as there is time for, so pairs are the least that an attacker has.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import UNet2DModel
from rich.progress import track
from torch import Tensor, nn

from benchmarks.strangers import Pixels
from core.networks import Encoder, Networks
from core.stages.latents import decode, encode
from core.stages.optimise import Jitter, draw

STEPS, BATCH, RATE, DECAY = 160, 32, 3e-4, 1e-2  # of a recogniser
ROUNDS, REROUNDS = 10, 2  # that a recogniser, a decoder sees every pair at least
TEMPERATURE = 0.1
JITTER = Jitter(shift=1.5, scale=0.02, angle=0.02, light=0.1, blur=1.0)
REDRAWS, REBATCH, RERATE = 80, 16, 1e-3  # of a decoder: steps, batch, rate
LIKENESS = 0.2  # what a unit of cosine counts beside a unit of mean absolute difference


@dataclass(frozen=True, slots=True)
class Owned:
    """protected, original: RGB in [0, 1] (N, 3, 256, 256). marks: (N, 5, 2) px."""

    protected: Tensor
    original: Tensor
    marks: Tensor

    @classmethod
    def of(cls, protected: list[Pixels | None], original: list[Pixels], marks: list[Tensor]) -> Owned:
        """Where a face was found."""
        rows = [i for i, image in enumerate(protected) if image is not None]
        both = (np.stack([images[i] for i in rows]) for images in (protected, original))  # type: ignore[misc]
        x, y = (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 for images in both)
        return cls(x, y, torch.stack([marks[i] for i in rows]))

    def __len__(self) -> int:
        return len(self.marks)


def distil(start: Encoder, owned: Owned) -> Encoder:
    """An encoder that reads in protected photos what `start` reads in their originals.

    It learns to tell each person from the others of its batch, and to come as near to the original as it can.
    """
    generator = torch.Generator().manual_seed(0)
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
        parts = (self.corrected(encode(x, self.autoencoder)) for x in images.split(REBATCH))
        return torch.cat([decode(z, self.autoencoder).clamp(0, 1) for z in parts])


def decoder(owned: Owned, eye: Encoder, networks: Networks) -> Decoder:
    """Learns to draw originals, and to draw them so that `eye` reads the person."""
    torch.manual_seed(0)  # weights are drawn without a generator
    learner, generator = Decoder(networks), torch.Generator().manual_seed(0)
    with torch.no_grad():
        z, goal = (torch.cat([encode(x, networks.autoencoder) for x in v.split(REBATCH)])
                   for v in (owned.protected, owned.original))  # fmt: skip
        person = eye.identity(owned.original, owned.marks)
    optimiser = torch.optim.AdamW(learner.net.parameters(), RERATE, weight_decay=DECAY)
    steps = max(REDRAWS, REROUNDS * len(owned) // REBATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RERATE, steps)
    for _ in track(range(steps), f"{len(owned)} pairs, decoder"):
        rows = torch.randperm(len(owned), generator=generator)[:REBATCH]
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
