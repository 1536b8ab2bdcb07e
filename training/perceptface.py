"""Train the generator that hides faces in a few looks: `python -m training.perceptface --minutes 60`

Portraits are changed under two secrets each, personas that are like the person. At its looks the generator is shown
what some of the bundle's encoders ask for; judged it is by others, teachers among them, so that it learns what of it
holds for networks that were not asked: they are to take the face for its secret and not for its person, however it is
cropped, lit or blurred. What an eye sees of the change is to be small. The judges never have a say, and the referee
only reports.
Checkpoints every few minutes and goes on from there; `--package` puts the average into the packaged bundle; run
`training.manifest` then.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core import objectives
from core.networks import Encoder, Networks
from core.networks.bundle import PACKAGED
from core.networks.generator import Generator
from core.networks.personas import pictures
from core.stages.decouple import Identity
from core.stages.generate import FLOOR, Scene, Subject, visible
from core.stages.latents import encode, pixel_gain
from core.stages.optimise import Jitter, draw
from training import checkpoint, muon, schedule
from training.known_faces import Batch, Faces, Reader, batch, readers
from training.precision import fast

FOLDER = Path(".work/perceptface")
PHOTOS, SHOWN, ASKED = 3, 2, 2  # a step: photos, each under two secrets; encoders at the looks; networks that judge
STEP, RATE, DECAY = 0.003, 4e-4, 0.01  # of Muon; of AdamW
WARM_UP, FALLING = 50, 0.3  # steps; share of the time
EDGES = ("enter", "leave", "place", "pace")
AVERAGING = 0.99
APART, LINKED = 1.2, 0.1  # shares of the threshold that two secrets may keep in common, and its weight
PULL = 1.0  # towards the secret, as the cloak is pulled
BALANCE = 0.25  # of what is seen against hiding
FITTING = 64  # personas that a secret is drawn from
PROMINENCE, DRAWING = 0.2, 2.0  # beside what is seen: of its strongest places; of structure, as is promised
Network = TypeVar("Network")


def subject(seen: Batch) -> Subject:
    return Subject(seen.x, seen.landmarks, seen.mask, seen.regions, (Identity(seen.vectors),))


@torch.no_grad()
def personas(networks: Networks, known: list[Reader]) -> Identity:
    """What each network reads in the bank's personas, (p, d)."""
    images, marks = pictures(networks.personas, networks.device)
    parts = list(zip(images.split(32), marks.split(32), strict=True))
    return Identity({j.name: F.normalize(torch.cat([j.embed(*part).float() for part in parts]), dim=1) for j in known})


def secrets(seen: Batch, bank: Identity, g: torch.Generator) -> Identity:
    """For each photo two personas of the FITTING that are most like its person, one for each of its faces."""
    alike = torch.stack([seen.vectors[name][::2] @ v.T for name, v in bank.vectors.items()]).mean(0)
    fitting = alike.topk(FITTING).indices.cpu()
    drawn = torch.stack([row[torch.randperm(FITTING, generator=g)[:2]] for row in fitting]).flatten()
    return Identity({name: v[drawn] for name, v in bank.vectors.items()})


def eye(face: Tensor, seen: Batch) -> Tensor:
    """How much people see of the change, (B,)."""
    drawing = 1 - objectives.structure(face, seen.x, seen.mask)
    return visible(face, subject(seen)) + PROMINENCE * objectives.prominence(face, seen.x) + DRAWING * drawing


def some(networks: Sequence[Network], count: int, g: torch.Generator) -> tuple[Network, ...]:
    """So many of them."""
    return tuple(networks[k] for k in torch.randperm(len(networks), generator=g)[:count].tolist())


def read(vectors: Tensor, seen: Batch, secret: Identity, reader: Reader) -> dict[str, Tensor]:
    """What a network still knows: cosines beyond its aims, to the source and between the two secrets of each photo; and
    how far it is from taking the face for its secret."""
    own, linked = (vectors * seen.vectors[reader.name]).sum(1), (vectors[::2] * vectors[1::2]).sum(1)
    return {
        "astray": 1 - (vectors * secret.vectors[reader.name]).sum(1).mean(),
        "hiding": torch.relu(own - (1 - FLOOR) * reader.threshold).mean(),
        "linked": torch.relu(linked - APART * reader.threshold).mean(),
    }


@dataclass
class Run:
    net: Generator
    average: Generator
    networks: Networks
    bank: Identity
    optimisers: tuple[muon.Muon, torch.optim.AdamW]
    step: int = 0
    minutes: float = 0.0

    @classmethod
    def start(cls, networks: Networks, faces: Faces, known: list[Reader]) -> Run:
        net = Generator()
        z = encode(faces.layers[:8, :3].to(networks.device).float() / 255, networks.autoencoder)
        net.gain.copy_(pixel_gain(z, networks.autoencoder).mean(0, keepdim=True))
        average = deepcopy(net).eval().requires_grad_(False)
        run = cls(net, average, networks, personas(networks, known), muon.optimisers(net, EDGES, STEP, RATE, DECAY))
        if before := checkpoint.resume(FOLDER, net, average):
            run.step, run.minutes = before
        elif networks.generator is not None:
            for part in (net, average):
                part.load_state_dict(networks.generator.state_dict())
        for part in (net, average):
            part.to(networks.device)
        return run

    def learn(self, seen: Batch, known: list[Reader], share: float, g: torch.Generator) -> dict[str, float]:
        """One step; the parts of the loss."""
        muon.scale(self.optimisers, share, STEP, RATE)
        looked = some(self.networks.surrogates, SHOWN, g)
        judging = some([j for j in known if j.name not in {e.name for e in looked}], ASKED, g)
        secret = secrets(seen, self.bank, g)
        face = changed(self.net, self.networks, looked, seen, secret, g)
        jitter = draw(face, seen.landmarks, Jitter(), g)
        said = []
        for j in judging:
            with fast(face.device):
                vectors = j.embed(*jitter).float()
            said.append(read(vectors, seen, secret, j))
        parts = {k: torch.stack([s[k] for s in said]).mean() for k in said[0]}
        parts["eye"] = eye(face, seen).mean()
        loss = parts["hiding"] + PULL * parts["astray"] + LINKED * parts["linked"] + BALANCE * parts["eye"]
        self.net.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
        self.step += 1
        checkpoint.follow(self.average, self.net, self.step, AVERAGING)
        return {k: float(v.detach()) for k, v in parts.items()}

    def save(self) -> None:
        checkpoint.save(FOLDER, self.net, self.average, self.step, self.minutes)


def changed(
    net: Generator, networks: Networks, looked: tuple[Encoder, ...], seen: Batch, secret: Identity, g: torch.Generator
) -> Tensor:
    """The protected faces of a batch."""
    with fast(seen.x.device):
        scene = Scene(subject(seen), secret, net, looked, networks.autoencoder, g)
        u = torch.zeros_like(scene.z)
        for look in range(net.looks):
            u = scene.onward(u, look)
        change = scene.change(u)
    return scene.shown(change.float())


@torch.no_grad()
def evaluate(net: Generator, networks: Networks, held: Faces, known: list[Reader], bank: Identity) -> str:
    """On held-out people, the same draws at every call: share hidden at FAR 1e-2, cosine, PSNR, structure."""
    g = torch.Generator().manual_seed(0)
    shares: dict[str, list[float]] = {j.name: [] for j in known}
    towards: list[float] = []
    cosines: dict[str, list[float]] = {j.name: [] for j in known}
    psnr, lost = [], []
    for rows in torch.randperm(len(held.layers), generator=g)[:24].split(6):
        seen = batch(held, rows, g, networks.device)
        secret = secrets(seen, bank, g)
        face = changed(net, networks, networks.surrogates, seen, secret, g)
        psnr += (-10 * (face - seen.x).square().mean((1, 2, 3)).log10()).tolist()
        lost += (1 - objectives.structure(face, seen.x, seen.mask)).tolist()
        for j in known:
            with fast(face.device):
                vectors = j.embed(face, seen.landmarks).float()
            own = (vectors * seen.vectors[j.name]).sum(1)
            towards += (vectors * secret.vectors[j.name]).sum(1).tolist() if j.name in bank.vectors else []
            shares[j.name] += (own < j.threshold).float().tolist()
            cosines[j.name] += own.tolist()
    hidden = " ".join(f"{n} {np.mean(found):.0%} {np.mean(cosines[n]):.2f}" for n, found in shares.items())
    means = f"{np.mean(psnr):.1f} dB, structure lost {np.mean(lost):.3f}, cosine to the secret {np.mean(towards):.2f}"
    return f"{means}; hidden: {hidden}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="of processor time")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--package", action="store_true", help="put the average into the bundle, in half precision")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    networks, g = Networks.load(device=str(device)), torch.Generator()
    known, referee = readers(networks, device)
    faces, held = Faces.read([*known, referee], device, FOLDER).split()
    run = Run.start(networks, faces, known)
    g.manual_seed(run.step)
    earlier, parts = run.minutes, []
    for tick in schedule.ticks(args.minutes, WARM_UP, FALLING):
        run.minutes = earlier + tick.minutes
        rows = torch.randint(len(faces.layers), (PHOTOS,), generator=g)
        parts.append(run.learn(batch(faces, rows, g, device), known, tick.share, g))
        if tick.report:
            means = " ".join(f"{k} {np.mean([p[k] for p in parts]):.4f}" for k in parts[0])
            print(f"{run.minutes:6.1f} min step {run.step} {means}", flush=True)
            parts = []
        if tick.save:
            run.save()
            print(evaluate(run.average, networks, held, [*known, referee], run.bank), flush=True)
    if args.package:
        deepcopy(run.average).half().save_pretrained(PACKAGED / "generator")  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
