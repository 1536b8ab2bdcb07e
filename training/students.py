"""Distil the teachers into our own encoders: `python -m training.students residual --minutes 60`

Reads the shards of `training.shards`. Checkpoints every few minutes and goes on from there: the learning rate is
held, and falls to nothing in the last part of `--minutes` (`--falling`; of several runs only the last needs one).
Logs a line a minute, and the equal-error rate on the development pairs (never trained on) at each checkpoint.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from core.networks.bundle import PACKAGED
from core.networks.encoder import Crop, Encoder
from core.networks.students import FAMILIES, Student, load
from training import muon, schedule, views
from training.composites import middle
from training.pairs import Scores
from training.precision import fast

FOLDER, SHARDS = Path(".work/students"), Path(".work/views")
BATCH = 32
RATE, DECAY = 1.1e-3, 0.05  # of AdamW: biases, norms, depthwise kernels, first and last layer
STEP = 0.02  # of Muon: all other matrices and kernels
WARM_UP = 100  # steps
EDGES = ("body.0.", "head.")
AVERAGING = 0.999  # of the exponential moving average that is kept as the result
RELATION = 4.0  # weight of the similarities between the faces of a batch
# Each learns from another mix, so that they err differently.
MIXES = {
    "residual": ("esp_mfn", "foamliu_mfn_ms1m"),
    "large_kernel": ("foamliu_mfn_ms1m", "mobileface_v2", "esp_mfn"),
    "separable": ("foamliu_mfn_ms1m", "mobileface_v2"),
    "hybrid": ("esp_mfn", "mobileface_v2"),
}
REFEREE = "hybrid"
DIMS = {"foamliu_mfn_ms1m": 128, "mobileface_v2": 256, "esp_mfn": 512}


@dataclass
class Run:
    """A student in training, with the moving average of its weights."""

    family: str
    student: Student
    average: Student
    optimisers: tuple[muon.Muon, torch.optim.AdamW]
    device: torch.device
    step: int = 0
    minutes: float = 0.0

    @classmethod
    def start(cls, family: str, device: torch.device) -> Run:
        """From the checkpoint where there is one, else from the packaged weights where there are some."""
        student, average = (FAMILIES[family](dim_of(family)).to(device) for _ in range(2))
        student.to(memory_format=torch.channels_last)
        average.load_state_dict(student.state_dict())
        run = cls(family, student, average.eval(), muon.optimisers(student, EDGES, STEP, RATE, DECAY), device)
        if (FOLDER / f"{family}.json").is_file():
            student.load_state_dict(load_file(FOLDER / f"{family}.now.safetensors"))
            average.load_state_dict(load_file(FOLDER / f"{family}.safetensors"))
            facts = json.loads((FOLDER / f"{family}.json").read_text(encoding="utf-8"))
            run.step, run.minutes = facts["step"], facts["minutes"]
        elif (packaged := PACKAGED / "encoders" / f"{name_of(family)}.safetensors").is_file():
            for net in (student, average):
                net.load_state_dict(load_file(packaged))
        return run

    def learn(self, images: Tensor, targets: list[Tensor], share: float) -> float:
        """One step on uint8 views (B, 3, 128, 128), with this share of the full learning rates; the loss."""
        muon.scale(self.optimisers, share, STEP, RATE)
        seen = middle(images, self.student.side).to(self.device, memory_format=torch.channels_last).float() / 255
        with fast(self.device):
            vectors = self.student(seen)
        loss = loss_of(vectors.float(), targets)
        self.student.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
        self.step += 1
        keep = min(AVERAGING, self.step / (self.step + 10))
        for slow, now in zip(self.average.state_dict().values(), self.student.state_dict().values(), strict=True):
            if slow.is_floating_point():
                slow.lerp_(now, 1 - keep)
            else:
                slow.copy_(now)
        return float(loss.detach())

    def save(self, finished: bool) -> float:
        """Write the checkpoint; the equal-error rate on the development pairs."""
        error = Scores.of(as_encoder(self.family, self.average)).equal_error()
        FOLDER.mkdir(parents=True, exist_ok=True)
        save_file(_plain(self.student), FOLDER / f"{self.family}.now.safetensors")
        save_file(_plain(self.average), FOLDER / f"{self.family}.safetensors")
        facts = {"step": self.step, "minutes": round(self.minutes, 1), "eer": round(error, 4), "finished": finished}
        (FOLDER / f"{self.family}.json").write_text(json.dumps(facts), encoding="utf-8")
        return error


def loss_of(vectors: Tensor, targets: list[Tensor]) -> Tensor:
    """1 - cosine to each teacher's unit vectors, and the difference of all similarities within the batch."""
    parts = vectors.split([t.shape[1] for t in targets], 1)
    units = [F.normalize(p, dim=1) for p in parts]
    away = sum((1 - (u * t).sum(1)).mean() for u, t in zip(units, targets, strict=True))
    ours, theirs = (torch.stack([v @ v.T for v in many]).mean(0) for many in (units, targets))
    return away + RELATION * len(vectors) * F.mse_loss(ours, theirs) / 16


def name_of(family: str) -> str:
    return f"student-{family.replace('_', '-')}"


def dim_of(family: str) -> int:
    """A student says side by side what each of its teachers would."""
    return sum(DIMS[t] for t in MIXES[family])


def as_encoder(family: str, student: Student) -> Encoder:
    """The student behind the crop it was trained on; not centred, without thresholds."""
    edge = (views.SIDE - student.side) / 2
    seen = Crop(tuple((x - edge, y - edge) for x, y in views.TEMPLATE), (student.side, student.side))
    role = "referee" if family == REFEREE else "surrogate"
    return Encoder(name_of(family), student, seen, torch.zeros(student.dim), {}, role).eval()


def finished() -> Iterator[tuple[str, Student]]:
    """Averaged students of all runs that came to their end, by family."""
    for path in sorted(FOLDER.glob("*.json")):
        if not json.loads(path.read_text(encoding="utf-8")).get("finished"):
            continue
        yield path.stem, load(path.with_suffix(".safetensors"), path.stem, dim_of(path.stem))


def surrogates() -> list[Student]:
    """The students that a search may ask, as training has left them, else packaged; those that there are."""
    found = []
    for family in MIXES:
        places = FOLDER / f"{family}.safetensors", PACKAGED / "encoders" / f"{name_of(family)}.safetensors"
        path = next((p for p in places if p.is_file()), None)
        if path and family != REFEREE:
            found.append(load(path, family, dim_of(family)))
    return found


def train(run: Run, minutes: float, falling: float) -> None:
    """Over batches in random order until the time is up."""
    earlier, losses = run.minutes, []
    for tick, (images, targets) in zip(schedule.ticks(minutes, WARM_UP, falling), batches(run), strict=False):
        run.minutes = earlier + tick.minutes
        losses.append(run.learn(images, targets, tick.share))
        if tick.report:
            print(f"{run.family} {run.minutes:6.1f} min step {run.step} loss {np.mean(losses):.4f}", flush=True)
            losses = []
        if tick.save:
            print(f"{run.family} {run.minutes:6.1f} min EER {run.save(tick.last):.2%}", flush=True)


def batches(run: Run) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """Views and what the run's teachers say of them, shard by shard in random order, without end."""
    chance = np.random.default_rng()
    while True:
        shards = sorted(SHARDS.glob("*.safetensors"))
        if not shards:
            raise FileNotFoundError(f"no shards in {SHARDS}; make some: python -m training.shards")
        shard = load_file(shards[chance.integers(len(shards))])
        targets = [shard[name].float().to(run.device) for name in MIXES[run.family]]
        for rows in torch.randperm(len(shard["images"])).split(BATCH):
            yield shard["images"][rows], [t[rows] for t in targets]


def _plain(net: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("family", choices=sorted(FAMILIES))
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--falling", type=float, default=0.25, help="last share of the time, in which rates fall")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train(Run.start(args.family, device), args.minutes, args.falling)


if __name__ == "__main__":
    main()
