"""Train the generator that hides faces in one pass: `python -m training.perceptface --minutes 60`

Portraits are changed under two secrets each, and every network at hand is to read somebody else in both, however the
face is cropped, lit or blurred, and not the same somebody; what an eye sees of the change is to be small. How much
that counts rises while hiding holds, so that at the end no more is changed than is needed. Of the networks a few are
asked at each step. The judges are never asked, and the referee only to report. Checkpoints every few minutes and goes
on from there; `--package` puts the average into the packaged bundle; run `training.manifest` then.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from core import objectives
from core.networks import Networks, warp
from core.networks.bundle import PACKAGED
from core.networks.generator import Generator
from core.stages.decouple import change_masks, region_weights
from core.stages.generate import bounded, change
from core.stages.optimise import Jitter, draw
from core.stages.recompose import apply_change, encode, pixel_gain
from training import muon, portraits, schedule, teachers, views
from training.precision import fast

FOLDER = Path(".work/perceptface")
SOURCES = (*portraits.CLEAN, "omi_synthetic")
HELD_OUT = 10  # every so many identities
PHOTOS, ASKED = 4, 2  # a step: photos, each under two secrets; networks
STEP, RATE, DECAY = 0.01, 1e-3, 0.01  # of Muon; of AdamW
WARM_UP, FALLING = 100, 0.3  # steps; share of the time
EDGES = ("enter", "leave", "place", "deep_place")
AVERAGING = 0.995
FLOOR = 0.7  # share of a threshold at FAR 1e-2 by which a network is to read less than it
APART, LINKED = 1.2, 0.1  # shares of the threshold that two secrets may keep in common, and its weight
EXCESS = 0.06  # cosine beyond the aim at which hiding is said to hold
BALANCE, STIFFNESS = (0.03, 0.5), 0.008  # of what is seen: least and most, and its growth a step
TEXTURE, PROMINENCE = 0.3, 0.1  # weights beside the perceived distance
COLOUR = 0.3  # share of a change's colour that is left
SEEN = (slice(None), slice(None), slice(40, 250), slice(40, 216))  # where aligned faces are

Embed = Callable[[Tensor, Tensor], Tensor]
MIRRORED = (1, 0, 2, 4, 3)  # order of the landmarks in a mirror


@dataclass(frozen=True, slots=True)
class Judge:
    """A network that reads faces: its name, its vectors of images with landmarks, its cosine at FAR 1e-2."""

    name: str
    embed: Embed
    threshold: float


def asked(networks: Networks, device: torch.device) -> tuple[list[Judge], Judge]:
    """Those that training hides from, and the referee."""
    wide = torch.channels_last
    ours = [Judge(e.name, e.to(memory_format=wide).embed, e.thresholds[1e-2]) for e in networks.encoders]
    theirs = [
        Judge(t.name, t.to(device, memory_format=wide).embed, cut[1e-2]) for t, cut in teachers.networks("teacher")
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
    def read(cls, judges: list[Judge], device: torch.device) -> Faces:
        """Of SOURCES; what takes minutes is kept."""
        found = views.Faces.read(SOURCES)
        path = FOLDER / "faces.safetensors"
        if not path.is_file():
            FOLDER.mkdir(parents=True, exist_ok=True)
            save_file(_measured(found, judges, device), path)
        kept = load_file(path)
        layers = torch.cat((found.images, kept.pop("masks")), 1)
        return cls(layers, found.landmarks, {name: v.float().to(device) for name, v in kept.items()})

    def part(self, index: list[int]) -> Faces:
        return Faces(self.layers[index], self.landmarks[index], {n: v[index] for n, v in self.vectors.items()})

    def split(self) -> tuple[Faces, Faces]:
        """Training faces and held-out ones, no person in both."""
        who = [row.identity for row in portraits.read(SOURCES)]
        held = set(sorted(set(who))[::HELD_OUT])
        return tuple(self.part([i for i, w in enumerate(who) if (w in held) == wanted]) for wanted in (False, True))  # type: ignore[return-value]


@torch.no_grad()
def _measured(faces: views.Faces, judges: list[Judge], device: torch.device) -> dict[str, Tensor]:
    masks: list[Tensor] = []
    vectors: dict[str, list[Tensor]] = {j.name: [] for j in judges}
    for rows in track(torch.arange(len(faces.images)).split(32), "identities"):
        x, marks = faces.images[rows].to(device).float() / 255, faces.landmarks[rows].to(device)
        both = torch.cat((change_masks(marks), region_weights(marks)), 1)
        masks.append((both * 255).round().byte().cpu())
        mirror = torch.stack((255 - marks[..., 0], marks[..., 1]), -1)[:, list(MIRRORED)]
        with fast(device):
            for j in judges:
                own = j.embed(x, marks).float() + j.embed(x.flip(-1), mirror).float()
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
    flipped = torch.stack((255 - marks[..., 0], marks[..., 1]), -1)[:, list(MIRRORED)]
    marks = torch.where(mirror, flipped, marks)
    angle, grow = torch.randn(n, generator=g) * 0.03, torch.exp(torch.randn(n, generator=g) * 0.03)
    cos, sin = grow * angle.cos(), grow * angle.sin()
    linear = torch.stack((cos, -sin, sin, cos), -1).view(n, 2, 2)
    centre = torch.full((n, 2), 127.5)
    shift = centre - (linear @ centre[..., None])[..., 0] + torch.randn(n, 2, generator=g) * 3
    matrix = torch.cat((linear, shift[..., None]), -1)
    layers, marks = warp.sample(layers, matrix, (256, 256), "border"), warp.move(marks, matrix)
    light = torch.exp(torch.randn(n, 1, 1, 1, generator=g) * 0.15 + torch.randn(n, 3, 1, 1, generator=g) * 0.04)
    layers, marks = (v.repeat_interleave(2, 0).to(device) for v in (layers, marks))
    x = (layers[:, :3] * light.repeat_interleave(2, 0).to(device)).clamp(0, 1)
    twice = {name: v[rows].repeat_interleave(2, 0) for name, v in faces.vectors.items()}
    return Batch(x, layers[:, 3:4], layers[:, 4:5], marks, twice)


def changed(net: Generator, networks: Networks, seen: Batch, secret: Tensor) -> Tensor:
    """The protected faces of a batch."""
    with fast(seen.x.device):
        with torch.no_grad():
            z = encode(seen.x, networks.autoencoder)
        moved = change(net, networks.autoencoder, z, net.identity(seen.vectors), secret.to(seen.x))
    return apply_change(seen.x, seen.mask, bounded(moved.float()), COLOUR)


def visible(face: Tensor, seen: Batch) -> Tensor:
    """What an eye sees of the change, by row."""
    shown, x, mask, regions = (v[SEEN] for v in (face, seen.x, seen.mask, seen.regions))
    return (
        objectives.perceived_distance(shown, x, mask, regions)
        + TEXTURE * objectives.texture_change(shown, x, mask)
        + PROMINENCE * objectives.prominence(shown, x)
    )


def read(face: Tensor, seen: Batch, judge: Judge, jitter: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Cosines to the source, and between the two secrets of each photo, in shares of the threshold."""
    with fast(face.device):
        vectors = judge.embed(*jitter).float()
    own = (vectors * seen.vectors[judge.name]).sum(1)
    return own, (vectors[::2] * vectors[1::2]).sum(1)


@dataclass
class Run:
    net: Generator
    average: Generator
    networks: Networks
    optimisers: tuple[muon.Muon, torch.optim.AdamW]
    step: int = 0
    minutes: float = 0.0
    balance: float = BALANCE[0]

    @classmethod
    def start(cls, networks: Networks, sample: Tensor) -> Run:
        readers = tuple(e.name for e in networks.surrogates)
        net = Generator(readers, sum(len(e.centre) for e in networks.surrogates))
        z = encode(sample.to(networks.device).float() / 255, networks.autoencoder)
        net.gain.copy_(torch.stack([pixel_gain(row[None], networks.autoencoder) for row in z]).mean(0))
        average = deepcopy(net).eval().requires_grad_(False)
        run = cls(net, average, networks, muon.optimisers(net, EDGES, STEP, RATE, DECAY))
        if (FOLDER / "facts.json").is_file():
            net.load_state_dict(load_file(FOLDER / "now.safetensors"))
            average.load_state_dict(load_file(FOLDER / "average.safetensors"))
            facts = json.loads((FOLDER / "facts.json").read_text(encoding="utf-8"))
            run.step, run.minutes, run.balance = facts["step"], facts["minutes"], facts["balance"]
        for part in (net, average):
            part.to(networks.device)
        return run

    def learn(self, seen: Batch, judges: list[Judge], share: float, g: torch.Generator) -> dict[str, float]:
        """One step; the parts of the loss."""
        muon.scale(self.optimisers, share, STEP, RATE)
        face = changed(self.net, self.networks, seen, self.net.secrets(len(seen.x), g))
        jitter = draw(face, seen.landmarks, Jitter(), g)
        excess, linked = [], []
        for j in judges:
            own, between = read(face, seen, j, jitter)
            excess.append(torch.relu(own - (1 - FLOOR) * j.threshold).mean())
            linked.append(torch.relu(between - APART * j.threshold).mean())
        hiding, alike, eye = torch.stack(excess).mean(), torch.stack(linked).mean(), visible(face, seen).mean()
        loss = hiding + LINKED * alike + self.balance * eye
        self.net.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
        self.step += 1
        grow = 1 + STIFFNESS if float(hiding.detach()) < EXCESS else 1 / (1 + STIFFNESS)
        self.balance = min(max(self.balance * grow, BALANCE[0]), BALANCE[1])
        keep = min(AVERAGING, self.step / (self.step + 10))
        for slow, now in zip(self.average.parameters(), self.net.parameters(), strict=True):
            slow.data.lerp_(now.data, 1 - keep)
        found = {"hiding": hiding, "linked": alike, "eye": eye}
        return {k: float(v.detach()) for k, v in found.items()} | {"balance": self.balance}

    def save(self) -> None:
        for part, name in ((self.net, "now"), (self.average, "average")):
            state = {k: v.detach().cpu().contiguous() for k, v in part.state_dict().items()}
            save_file(state, FOLDER / f"{name}.safetensors")
        facts = {"step": self.step, "minutes": round(self.minutes, 1), "balance": self.balance}
        (FOLDER / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


@torch.no_grad()
def evaluate(net: Generator, networks: Networks, held: Faces, judges: list[Judge]) -> str:
    """On held-out people, the same draws at every call: share hidden at FAR 1e-2, PSNR, what is seen."""
    g = torch.Generator().manual_seed(0)
    shares: dict[str, list[float]] = {j.name: [] for j in judges}
    psnr, eye = [], []
    for rows in torch.randperm(len(held.layers), generator=g)[:48].split(12):
        seen = batch(held, rows, g, networks.device)
        face = changed(net, networks, seen, net.secrets(len(seen.x), g))
        psnr += (-10 * (face - seen.x).square().mean((1, 2, 3)).log10()).tolist()
        eye += visible(face, seen).tolist()
        for j in judges:
            own, _ = read(face, seen, j, (face, seen.landmarks))
            shares[j.name] += (own < j.threshold).float().tolist()
    hidden = " ".join(f"{name} {np.mean(found):.0%}" for name, found in shares.items())
    return f"{np.mean(psnr):.1f} dB, seen {np.mean(eye):.3f}; hidden: {hidden}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="of processor time")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--package", action="store_true", help="put the average into the bundle, in half precision")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    networks, g = Networks.load(device=str(device)), torch.Generator()
    judges, referee = asked(networks, device)
    faces, held = Faces.read([*judges, referee], device).split()
    run = Run.start(networks, held.layers[:8, :3])
    g.manual_seed(run.step)
    earlier, parts = run.minutes, []
    for tick in schedule.ticks(args.minutes, WARM_UP, FALLING):
        run.minutes = earlier + tick.minutes
        rows = torch.randint(len(faces.layers), (PHOTOS,), generator=g)
        seen = batch(faces, rows, g, device)
        few = random.sample(judges, ASKED)
        parts.append(run.learn(seen, few, tick.share, g))
        if tick.report:
            means = " ".join(f"{k} {np.mean([p[k] for p in parts]):.4f}" for k in parts[0])
            print(f"{run.minutes:6.1f} min step {run.step} {means}", flush=True)
            parts = []
        if tick.save:
            run.save()
            print(evaluate(run.average, networks, held, [*judges, referee]), flush=True)
    if args.package:
        deepcopy(run.average).half().save_pretrained(PACKAGED / "generator")  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
