"""Portraits with what networks read in them, and where a face may change: what `training.perceptface` is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch
from rich.progress import track
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from core.networks import Networks, warp
from core.networks.bundle import MANIFEST, PACKAGED
from core.stages.regions import change_masks, region_weights
from training import portraits, teachers, views
from training.precision import fast

SOURCES = (*portraits.CLEAN, "omi_synthetic")
Embed = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Reader:
    """A network that reads faces: its name, its vectors of images with landmarks, its cosine at FAR 1e-2."""

    name: str
    embed: Embed
    threshold: float


def readers(networks: Networks, device: torch.device) -> tuple[list[Reader], Reader]:
    """Those that training hides from, and the referee."""
    wide = torch.channels_last
    ours = [Reader(e.name, e.to(memory_format=wide).embed, e.thresholds[1e-2]) for e in networks.encoders]
    theirs = [
        Reader(t.name, t.to(device, memory_format=wide).embed, cut[1e-2]) for t, cut in teachers.networks("teacher")
    ]
    referees = {e.name for e in networks.referees}
    (referee,) = (j for j in ours if j.name in referees)
    return [j for j in ours if j.name not in referees] + theirs, referee


@dataclass(frozen=True, slots=True)
class Faces:
    """layers: uint8 (N, 5, 256, 256): RGB, where faces may change, how much their regions count. landmarks (N, 5, 2).
    vectors: by network, (N, d)."""

    layers: Tensor
    landmarks: Tensor
    vectors: dict[str, Tensor]

    @classmethod
    def read(cls, known: list[Reader], device: torch.device, folder: Path) -> Faces:
        """Of SOURCES; what takes minutes is kept in the folder."""
        found = views.Faces.read(SOURCES)
        readers = "\n".join(reader.name for reader in known).encode() + (PACKAGED / MANIFEST).read_bytes()
        path = folder / f"faces-{sha256(readers).hexdigest()[:8]}.safetensors"
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            save_file(_measured(found, known, device), path)
        kept = load_file(path)
        layers = torch.cat((found.images, kept.pop("masks")), 1)
        return cls(layers, found.landmarks, {name: v.float().to(device) for name, v in kept.items()})

    def part(self, index: list[int]) -> Faces:
        return Faces(self.layers[index], self.landmarks[index], {n: v[index] for n, v in self.vectors.items()})

    def split(self) -> tuple[Faces, Faces]:
        """Training faces and held-out ones, no person in both."""
        who = [row.identity for row in portraits.read(SOURCES)]
        held = portraits.held_out(who)
        return tuple(self.part([i for i, w in enumerate(who) if (w in held) == wanted]) for wanted in (False, True))  # type: ignore[return-value]


def mirrored(landmarks: Tensor) -> Tensor:
    """Landmarks (N, 5, 2) of images of 256 px, seen in a mirror; the left eye is still the one on the left."""
    return torch.stack((255 - landmarks[..., 0], landmarks[..., 1]), -1)[:, [1, 0, 2, 4, 3]]


@torch.no_grad()
def _measured(faces: views.Faces, known: list[Reader], device: torch.device) -> dict[str, Tensor]:
    masks: list[Tensor] = []
    vectors: dict[str, list[Tensor]] = {j.name: [] for j in known}
    for rows in track(torch.arange(len(faces.images)).split(32), "identities"):
        x, marks = faces.images[rows].to(device).float() / 255, faces.landmarks[rows].to(device)
        both = torch.cat((change_masks(marks), region_weights(marks)), 1)
        masks.append((both * 255).round().byte().cpu())
        with fast(device):
            for j in known:
                own = j.embed(x, marks).float() + j.embed(x.flip(-1), mirrored(marks)).float()
                vectors[j.name].append(nn.functional.normalize(own, dim=1).half().cpu())
    return {"masks": torch.cat(masks)} | {name: torch.cat(v) for name, v in vectors.items()}


@dataclass(frozen=True, slots=True)
class Batch:
    x: Tensor
    mask: Tensor
    regions: Tensor
    landmarks: Tensor
    vectors: dict[str, Tensor]


def batch(faces: Faces, rows: Tensor, g: torch.Generator, device: torch.device) -> Batch:
    """Photos in slightly changed frames and light, half of them mirrored, each of them twice."""
    n = len(rows)
    mirror = torch.rand(n, 1, 1, generator=g) < 0.5
    layers, marks = faces.layers[rows].float() / 255, faces.landmarks[rows]
    layers = torch.where(mirror[..., None], layers.flip(-1), layers)
    marks = torch.where(mirror, mirrored(marks), marks)
    angle, grow = torch.randn(n, generator=g) * 0.03, torch.exp(torch.randn(n, generator=g) * 0.03)
    matrix = warp.turned(angle, grow, torch.full((n, 2), 127.5), torch.randn(n, 2, generator=g) * 3)
    layers, marks = warp.sample(layers, matrix, (256, 256), "border"), warp.move(marks, matrix)
    light = torch.exp(torch.randn(n, 1, 1, 1, generator=g) * 0.15 + torch.randn(n, 3, 1, 1, generator=g) * 0.04)
    layers, marks = (v.repeat_interleave(2, 0).to(device) for v in (layers, marks))
    x = (layers[:, :3] * light.repeat_interleave(2, 0).to(device)).clamp(0, 1)
    twice = {name: v[rows].repeat_interleave(2, 0) for name, v in faces.vectors.items()}
    return Batch(x, layers[:, 3:4], layers[:, 4:5], marks, twice)
