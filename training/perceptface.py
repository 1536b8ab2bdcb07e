"""Train the generator that hides faces in one pass: `python -m training.perceptface --minutes 60`

Portraits are changed under two secrets each, and every network at hand is to read somebody else in both, however the
face is cropped, lit or blurred, and not the same somebody: a secret is a mixture of held-out faces, and the changed
face is drawn a little towards it. What an eye sees of the change is to be small; how much that counts rises while
hiding holds, so that at the end no more is changed than is needed. Of the networks a few are asked at each step; the
judges never, and the referee only to report. Checkpoints every few minutes and goes on from there; `--package` puts the
average into the packaged bundle; run `training.manifest` then.
"""

from __future__ import annotations

import argparse
import json
import random
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from core import objectives
from core.networks import Networks
from core.networks.bundle import PACKAGED
from core.networks.generator import Generator
from core.stages.generate import LIMIT, bounded, change
from core.stages.optimise import Jitter, draw
from core.stages.recompose import apply_change, encode, pixel_gain
from training import muon, schedule
from training.known_faces import Batch, Faces, Reader, batch, readers
from training.precision import fast

FOLDER = Path(".work/perceptface")
PHOTOS, ASKED = 4, 2  # a step: photos, each under two secrets; networks
STEP, RATE, DECAY = 0.006, 4e-4, 0.01  # of Muon; of AdamW
WARM_UP, FALLING = 100, 0.3  # steps; share of the time
EDGES = ("enter", "leave", "of_", "pattern", "place", "deep_place")
AVERAGING = 0.995
FLOOR = 0.7  # share of a threshold at FAR 1e-2 by which a network is to read less than it
PULL = 0.15  # towards whom the secret says
APART, LINKED = 1.2, 0.1  # shares of the threshold that two secrets may keep in common, and its weight
EXCESS = 0.15  # cosine beyond the aim at which hiding is said to hold
BALANCE, STIFFNESS = (0.03, 0.5), 0.008  # of what is seen: least and most, and its growth a step
TEXTURE, PROMINENCE = 0.3, 0.1  # weights beside the perceived distance
SPILL = 0.5  # weight of changes beyond the limit
COLOUR = 0.3  # share of a change's colour that is left
SEEN = (slice(None), slice(None), slice(40, 250), slice(40, 216))  # where aligned faces are


def changed(net: Generator, networks: Networks, seen: Batch, secret: Tensor) -> tuple[Tensor, Tensor]:
    """The protected faces of a batch, and what the generator would have done without a limit."""
    with fast(seen.x.device):
        with torch.no_grad():
            z = encode(seen.x, networks.autoencoder)
        moved = change(net, networks.autoencoder, z, net.identity(seen.vectors), secret.to(seen.x))
    return apply_change(seen.x, seen.mask, bounded(moved.float()), COLOUR), moved.float()


def visible(face: Tensor, seen: Batch) -> Tensor:
    """What an eye sees of the change, by row."""
    shown, x, mask, regions = (v[SEEN] for v in (face, seen.x, seen.mask, seen.regions))
    return (
        objectives.perceived_distance(shown, x, mask, regions)
        + TEXTURE * objectives.texture_change(shown, x, mask)
        + PROMINENCE * objectives.prominence(shown, x)
    )


def read(vectors: Tensor, seen: Batch, reader: Reader, target: Tensor) -> dict[str, Tensor]:
    """What a network still knows: cosines beyond its aims to the source and between the two secrets of each photo; and
    how far it is from whom the secret says."""
    own, linked = (vectors * seen.vectors[reader.name]).sum(1), (vectors[::2] * vectors[1::2]).sum(1)
    return {
        "hiding": torch.relu(own - (1 - FLOOR) * reader.threshold).mean(),
        "linked": torch.relu(linked - APART * reader.threshold).mean(),
        "pull": -(vectors * target).sum(1).mean(),
    }


@dataclass
class Run:
    """anchors: by network, (secret_dim, d): faces of which a secret is a mixture, the same for all networks."""

    net: Generator
    average: Generator
    networks: Networks
    anchors: dict[str, Tensor]
    optimisers: tuple[muon.Muon, torch.optim.AdamW]
    step: int = 0
    minutes: float = 0.0
    balance: float = BALANCE[0]

    @classmethod
    def start(cls, networks: Networks, faces: Faces) -> Run:
        readers = tuple(e.name for e in networks.surrogates)
        net = Generator(readers, sum(len(e.centre) for e in networks.surrogates))
        z = encode(faces.layers[:8, :3].to(networks.device).float() / 255, networks.autoencoder)
        anchors = {name: v[: net.secret_dim] for name, v in faces.vectors.items()}
        net.gain.copy_(torch.stack([pixel_gain(row[None], networks.autoencoder) for row in z]).mean(0))
        average = deepcopy(net).eval().requires_grad_(False)
        run = cls(net, average, networks, anchors, muon.optimisers(net, EDGES, STEP, RATE, DECAY))
        if (FOLDER / "facts.json").is_file():
            net.load_state_dict(load_file(FOLDER / "now.safetensors"))
            average.load_state_dict(load_file(FOLDER / "average.safetensors"))
            facts = json.loads((FOLDER / "facts.json").read_text(encoding="utf-8"))
            run.step, run.minutes, run.balance = facts["step"], facts["minutes"], facts["balance"]
        elif networks.generator is not None:
            for part in (net, average):
                part.load_state_dict(networks.generator.state_dict())
        for part in (net, average):
            part.to(networks.device)
        return run

    def learn(self, seen: Batch, known: list[Reader], share: float, g: torch.Generator) -> dict[str, float]:
        """One step; the parts of the loss."""
        muon.scale(self.optimisers, share, STEP, RATE)
        secret = self.net.secrets(len(seen.x), g).to(seen.x)
        face, moved = changed(self.net, self.networks, seen, secret)
        jitter = draw(face, seen.landmarks, Jitter(), g)
        said = []
        for j in known:
            with fast(face.device):
                vectors = j.embed(*jitter).float()
            said.append(read(vectors, seen, j, nn.functional.normalize(secret @ self.anchors[j.name], dim=1)))
        parts = {k: torch.stack([s[k] for s in said]).mean() for k in said[0]} | {"eye": visible(face, seen).mean()}
        # Beyond the limit nothing is gained, nor is anything learned: no gradient passes there.
        parts["spill"] = torch.relu(moved.abs() / LIMIT - 1).mean()
        loss = (
            SPILL * parts["spill"]
            + parts["hiding"]
            + LINKED * parts["linked"]
            + PULL * parts["pull"]
            + self.balance * parts["eye"]
        )
        self.net.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
        self.step += 1
        grow = 1 + STIFFNESS if float(parts["hiding"].detach()) < EXCESS else 1 / (1 + STIFFNESS)
        self.balance = min(max(self.balance * grow, BALANCE[0]), BALANCE[1])
        keep = min(AVERAGING, self.step / (self.step + 10))
        for slow, now in zip(self.average.parameters(), self.net.parameters(), strict=True):
            slow.data.lerp_(now.data, 1 - keep)
        return {k: float(v.detach()) for k, v in parts.items()} | {"balance": self.balance}

    def save(self) -> None:
        for part, name in ((self.net, "now"), (self.average, "average")):
            state = {k: v.detach().cpu().contiguous() for k, v in part.state_dict().items()}
            save_file(state, FOLDER / f"{name}.safetensors")
        facts = {"step": self.step, "minutes": round(self.minutes, 1), "balance": self.balance}
        (FOLDER / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


@torch.no_grad()
def evaluate(net: Generator, networks: Networks, held: Faces, known: list[Reader]) -> str:
    """On held-out people, the same draws at every call: share hidden at FAR 1e-2, PSNR, what is seen."""
    g = torch.Generator().manual_seed(0)
    shares: dict[str, list[float]] = {j.name: [] for j in known}
    psnr, eye = [], []
    for rows in torch.randperm(len(held.layers), generator=g)[:48].split(12):
        seen = batch(held, rows, g, networks.device)
        face, _ = changed(net, networks, seen, net.secrets(len(seen.x), g))
        psnr += (-10 * (face - seen.x).square().mean((1, 2, 3)).log10()).tolist()
        eye += visible(face, seen).tolist()
        for j in known:
            with fast(face.device):
                own = (j.embed(face, seen.landmarks).float() * seen.vectors[j.name]).sum(1)
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
    known, referee = readers(networks, device)
    faces, held = Faces.read([*known, referee], device, FOLDER).split()
    run = Run.start(networks, held)
    g.manual_seed(run.step)
    earlier, parts = run.minutes, []
    for tick in schedule.ticks(args.minutes, WARM_UP, FALLING):
        run.minutes = earlier + tick.minutes
        rows = torch.randint(len(faces.layers), (PHOTOS,), generator=g)
        seen = batch(faces, rows, g, device)
        few = random.sample(known, ASKED)
        parts.append(run.learn(seen, few, tick.share, g))
        if tick.report:
            means = " ".join(f"{k} {np.mean([p[k] for p in parts]):.4f}" for k in parts[0])
            print(f"{run.minutes:6.1f} min step {run.step} {means}", flush=True)
            parts = []
        if tick.save:
            run.save()
            print(evaluate(run.average, networks, held, [*known, referee]), flush=True)
    if args.package:
        deepcopy(run.average).half().save_pretrained(PACKAGED / "generator")  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
