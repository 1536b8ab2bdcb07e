"""Attackers who own pairs of a protected photo and its original, and learn from them to draw originals. Those who learn
to read them are made by `training.adapted`.

Whoever has the program makes as many pairs as there is time for, so pairs are the least that an attacker has.
"""

from __future__ import annotations

from typing import cast

import torch
from diffusers import UNet2DModel
from rich.progress import track
from torch import Tensor, nn

from core.networks import Encoder, Networks
from core.stages.latents import decode, encode
from training.adapted import Owned

STEPS, BATCH, RATE, DECAY = 80, 16, 1e-3, 1e-2
ROUNDS = 2  # that every pair is seen at least
LIKENESS = 0.2  # what a unit of cosine counts beside a unit of mean absolute difference


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
        parts = (self.corrected(encode(x, self.autoencoder)) for x in images.split(BATCH))
        return torch.cat([decode(z, self.autoencoder).clamp(0, 1) for z in parts])


def decoder(owned: Owned, eye: Encoder, networks: Networks) -> Decoder:
    """Learns to draw originals, and to draw them so that `eye` reads the person."""
    torch.manual_seed(0)  # weights are drawn without a generator
    learner, generator = Decoder(networks), torch.Generator().manual_seed(0)
    with torch.no_grad():
        z, goal = (torch.cat([encode(x, networks.autoencoder) for x in v.split(BATCH)])
                   for v in (owned.protected, owned.original))  # fmt: skip
        person = eye.identity(owned.original, owned.marks)
    optimiser = torch.optim.AdamW(learner.net.parameters(), RATE, weight_decay=DECAY)
    steps = max(STEPS, ROUNDS * len(owned) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, steps)
    for _ in track(range(steps), f"{len(owned)} pairs, decoder"):
        rows = torch.randperm(len(owned), generator=generator)[:BATCH]
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
