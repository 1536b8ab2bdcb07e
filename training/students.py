"""Distil the teachers into our own encoders: `python -m training.students residual --minutes 60`

Reads the shards of `training.shards`. Checkpoints every few minutes and goes on from there: the learning rate is
held, and falls to nothing in the last part of `--minutes` (`--falling`; of several runs only the last needs one).
Logs a line a minute, and the equal-error rate on the development pairs (never trained on) at each checkpoint.
`--clean` for those that learn from dlib's network (CC0) and clean portraits only.
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
from training import checkpoint, muon, schedule, views
from training.composites import middle
from training.pairs import Scores
from training.precision import fast

BATCH = 32
RATE, DECAY = 1.1e-3, 0.05  # of AdamW: biases, norms, depthwise kernels, first and last layer
STEP = 0.02  # of Muon: all other matrices and kernels
WARM_UP = 100  # steps
EDGES = ("body.0.", "head.")
AVERAGING = 0.999  # of the exponential moving average that is kept as the result
RELATION = 4.0  # weight of the similarities between the faces of a batch
DIMS = {"foamliu_mfn_ms1m": 128, "mobileface_v2": 256, "esp_mfn": 512, "dlib": 128}


@dataclass(frozen=True, slots=True)
class School:
    """What the students of a licence class learn from, and where.

    prefix: of their names in the bundle. mixes: the teachers of each family. referee: the family that no search asks.
    folder, shards: of checkpoints and views.
    """

    prefix: str
    mixes: dict[str, tuple[str, ...]]
    referee: str
    folder: Path
    shards: Path

    def name_of(self, family: str) -> str:
        """What an encoder of this family is called."""
        return f"{self.prefix}-{family.replace('_', '-')}"

    def dim_of(self, family: str) -> int:
        """A student says side by side what each of its teachers would."""
        return sum(DIMS[t] for t in self.mixes[family])

    def as_encoder(self, family: str, student: Student) -> Encoder:
        """The student behind the crop it was trained on; not centred, without thresholds."""
        edge = (views.SIDE - student.side) / 2
        seen = Crop(tuple((x - edge, y - edge) for x, y in views.TEMPLATE), (student.side, student.side))
        role = "referee" if family == self.referee else "surrogate"
        return Encoder(self.name_of(family), student, seen, torch.zeros(student.dim), {}, role).eval()

    def finished(self) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Averaged weights of all runs that came to their end, by family, as a bundle has them."""
        for path in sorted(self.folder.glob("*.json")):
            if json.loads(path.read_text(encoding="utf-8")).get("finished"):
                weights = load_file(path.with_suffix(".safetensors"))
                yield path.stem, {k: v.half() if v.is_floating_point() else v for k, v in weights.items()}

    def surrogates(self) -> list[Student]:
        """The students that a search may ask, as training has left them, else packaged; those that there are."""
        found = []
        for family in self.mixes:
            places = self.folder / f"{family}.safetensors", self.packaged(family)
            path = next((p for p in places if p.is_file()), None)
            if path and family != self.referee:
                found.append(load(path, family, self.dim_of(family)))
        return found

    def packaged(self, family: str, bundle: Path = PACKAGED) -> Path:
        """Where a bundle has the weights."""
        return bundle / "encoders" / f"{self.name_of(family)}.safetensors"


SCHOOLS = {
    # Each learns from another mix, so that they err differently.
    "research": School(
        "student",
        {
            "residual": ("esp_mfn", "foamliu_mfn_ms1m"),
            "large_kernel": ("foamliu_mfn_ms1m", "mobileface_v2", "esp_mfn"),
            "separable": ("foamliu_mfn_ms1m", "mobileface_v2"),
            "hybrid": ("esp_mfn", "mobileface_v2"),
        },
        "hybrid",
        Path(".work/students"),
        Path(".work/views"),
    ),
    "clean": School(
        "clean",
        dict.fromkeys(("residual", "separable"), ("dlib",)),
        "separable",
        Path(".work/students-clean"),
        Path(".work/views-clean"),
    ),
}


@dataclass
class Run:
    """A student in training, with the moving average of its weights."""

    school: School
    family: str
    student: Student
    average: Student
    optimisers: tuple[muon.Muon, torch.optim.AdamW]
    device: torch.device
    step: int = 0
    minutes: float = 0.0

    @classmethod
    def start(cls, school: School, family: str, device: torch.device) -> Run:
        """From the checkpoint where there is one, else from the packaged weights where there are some."""
        student, average = (FAMILIES[family](school.dim_of(family)).to(device) for _ in range(2))
        student.to(memory_format=torch.channels_last)
        average.load_state_dict(student.state_dict())
        run = cls(school, family, student, average.eval(), muon.optimisers(student, EDGES, STEP, RATE, DECAY), device)
        if (facts_file := school.folder / f"{family}.json").is_file():
            student.load_state_dict(load_file(school.folder / f"{family}.now.safetensors"))
            average.load_state_dict(load_file(school.folder / f"{family}.safetensors"))
            facts = json.loads(facts_file.read_text(encoding="utf-8"))
            run.step, run.minutes = facts["step"], facts["minutes"]
        elif (packaged := school.packaged(family)).is_file():
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
        checkpoint.follow(self.average, self.student, self.step, AVERAGING)
        return float(loss.detach())

    def save(self, finished: bool) -> float:
        """Write the checkpoint; the equal-error rate on the development pairs."""
        error = Scores.of(self.school.as_encoder(self.family, self.average)).equal_error()
        folder = self.school.folder
        folder.mkdir(parents=True, exist_ok=True)
        save_file(_plain(self.student), folder / f"{self.family}.now.safetensors")
        save_file(_plain(self.average), folder / f"{self.family}.safetensors")
        facts = {"step": self.step, "minutes": round(self.minutes, 1), "eer": round(error, 4), "finished": finished}
        (folder / f"{self.family}.json").write_text(json.dumps(facts), encoding="utf-8")
        return error


def loss_of(vectors: Tensor, targets: list[Tensor]) -> Tensor:
    """1 - cosine to each teacher's unit vectors, and the difference of all similarities within the batch."""
    parts = vectors.split([t.shape[1] for t in targets], 1)
    units = [F.normalize(p, dim=1) for p in parts]
    away = sum((1 - (u * t).sum(1)).mean() for u, t in zip(units, targets, strict=True))
    ours, theirs = (torch.stack([v @ v.T for v in many]).mean(0) for many in (units, targets))
    return away + RELATION * len(vectors) * F.mse_loss(ours, theirs) / 16


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
        shards = sorted(run.school.shards.glob("*.safetensors"))
        if not shards:
            raise FileNotFoundError(f"no shards in {run.school.shards}; make some: python -m training.shards")
        shard = load_file(shards[chance.integers(len(shards))])
        targets = [shard[name].float().to(run.device) for name in run.school.mixes[run.family]]
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
    parser.add_argument("--clean", action="store_true", help="of the licence class clean")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    school = SCHOOLS["clean" if args.clean else "research"]
    train(Run.start(school, args.family, device), args.minutes, args.falling)


if __name__ == "__main__":
    main()
