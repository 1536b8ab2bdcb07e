"""Distil the teachers into our own encoders: `python -m training.students residual --minutes 60`

Reads the shards of `training.shards`. A student without weights may begin with those of another of its architecture
(`--like`). Checkpoints every few minutes and goes on from there: the learning rate is held, and falls to nothing in the
last part of `--minutes` (`--falling`; of several runs only the last needs one). Logs a line a minute, and the
equal-error rate on the development pairs (never trained on) at each checkpoint.
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
DIMS = {"foamliu_mfn_ms1m": 128, "mobileface_v2": 256, "esp_mfn": 512, "facenet": 512, "dlib": 128}


@dataclass(frozen=True, slots=True)
class Lesson:
    """family: the architecture that learns. teachers: whom it learns to imitate."""

    family: str
    teachers: tuple[str, ...]

    @property
    def dim(self) -> int:
        """A student says side by side what each of its teachers would."""
        return sum(DIMS[t] for t in self.teachers)

    def untaught(self) -> Student:
        """With random weights."""
        return FAMILIES[self.family](self.dim)


@dataclass(frozen=True, slots=True)
class School:
    """What the students of a licence class learn from, and where.

    prefix: of their names in the bundle. lessons: by student. referee: the student that no search asks.
    folder, shards: of checkpoints and views.
    """

    prefix: str
    lessons: dict[str, Lesson]
    referee: str
    folder: Path
    shards: Path

    def name_of(self, name: str) -> str:
        """What an encoder that is this student is called."""
        return f"{self.prefix}-{name.replace('_', '-')}"

    def as_encoder(self, name: str, student: Student) -> Encoder:
        """The student behind the crop it was trained on; not centred, without thresholds."""
        edge = (views.SIDE - student.side) / 2
        seen = Crop(tuple((x - edge, y - edge) for x, y in views.TEMPLATE), (student.side, student.side))
        role = "referee" if name == self.referee else "surrogate"
        return Encoder(self.name_of(name), student, seen, torch.zeros(student.dim), {}, role).eval()

    def finished(self) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Averaged weights of all runs that came to their end, by student, as a bundle has them."""
        for path in sorted(self.folder.glob("*.json")):
            if json.loads(path.read_text(encoding="utf-8")).get("finished"):
                weights = load_file(path.with_suffix(".safetensors"))
                yield path.stem, {k: v.half() if v.is_floating_point() else v for k, v in weights.items()}

    def surrogates(self) -> list[Student]:
        """The students that a search may ask, as training has left them, else packaged; those that there are."""
        found = []
        for name in self.lessons:
            path = self.weights(name)
            if path and name != self.referee:
                found.append(self.load(name, path))
        return found

    def load(self, name: str, path: Path) -> Student:
        """A student with these weights."""
        lesson = self.lessons[name]
        return load(path, lesson.family, lesson.dim)

    def weights(self, name: str) -> Path | None:
        """Of a student as training has left it, else packaged, else None."""
        places = self.folder / f"{name}.safetensors", self.packaged(name)
        return next((p for p in places if p.is_file()), None)

    def packaged(self, name: str, bundle: Path = PACKAGED) -> Path:
        """Where a bundle has the weights."""
        return bundle / "encoders" / f"{self.name_of(name)}.safetensors"


SCHOOLS = {
    # Each learns from another mix, so that they err differently.
    "research": School(
        "student",
        {
            "residual": Lesson("residual", ("esp_mfn", "foamliu_mfn_ms1m")),
            "large_kernel": Lesson("large_kernel", ("foamliu_mfn_ms1m", "mobileface_v2", "esp_mfn")),
            "separable": Lesson("separable", ("foamliu_mfn_ms1m", "mobileface_v2")),
            "hybrid": Lesson("hybrid", ("esp_mfn", "mobileface_v2")),
            "facenet": Lesson("residual", ("facenet",)),
        },
        "hybrid",
        Path(".work/students"),
        Path(".work/views"),
    ),
    "clean": School(
        "clean",
        {name: Lesson(name, ("dlib",)) for name in ("residual", "separable")},
        "separable",
        Path(".work/students-clean"),
        Path(".work/views-clean"),
    ),
}


@dataclass
class Run:
    """A student in training, with the moving average of its weights."""

    school: School
    name: str
    student: Student
    average: Student
    optimisers: tuple[muon.Muon, torch.optim.AdamW]
    device: torch.device
    step: int = 0
    minutes: float = 0.0

    @classmethod
    def start(cls, school: School, name: str, like: str | None, device: torch.device) -> Run:
        """From the checkpoint where there is one, else from the packaged weights where there are some, else from all
        but the head of the student `like`, if any is named."""
        student, average = (school.lessons[name].untaught().to(device) for _ in range(2))
        student.to(memory_format=torch.channels_last)
        average.load_state_dict(student.state_dict())
        run = cls(school, name, student, average.eval(), muon.optimisers(student, EDGES, STEP, RATE, DECAY), device)
        if (facts_file := school.folder / f"{name}.json").is_file():
            student.load_state_dict(load_file(school.folder / f"{name}.now.safetensors"))
            average.load_state_dict(load_file(school.folder / f"{name}.safetensors"))
            facts = json.loads(facts_file.read_text(encoding="utf-8"))
            run.step, run.minutes = facts["step"], facts["minutes"]
        elif (packaged := school.packaged(name)).is_file():
            for net in (student, average):
                net.load_state_dict(load_file(packaged))
        elif like:
            begin_like(student, school, like)
            average.load_state_dict(student.state_dict())
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
        error = Scores.of(self.school.as_encoder(self.name, self.average).to(self.device)).equal_error()
        folder = self.school.folder
        folder.mkdir(parents=True, exist_ok=True)
        save_file(_plain(self.student), folder / f"{self.name}.now.safetensors")
        save_file(_plain(self.average), folder / f"{self.name}.safetensors")
        facts = {"step": self.step, "minutes": round(self.minutes, 1), "eer": round(error, 4), "finished": finished}
        (folder / f"{self.name}.json").write_text(json.dumps(facts), encoding="utf-8")
        return error


def begin_like(student: Student, school: School, other: str) -> None:
    """Give a student all but the head of another.

    Raises:
        ValueError: the other has no weights, or another architecture.
    """
    path = school.weights(other)
    if path is None:
        raise ValueError(f"there are no weights of the student {other!r} to begin with")
    weights = {k: v for k, v in load_file(path).items() if not k.startswith("head.")}
    own = student.state_dict()
    if {k: v.shape for k, v in weights.items()} != {k: v.shape for k, v in own.items() if not k.startswith("head.")}:
        raise ValueError(f"the student {other!r} is of another architecture")
    student.load_state_dict(own | weights)


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
            print(f"{run.name} {run.minutes:6.1f} min step {run.step} loss {np.mean(losses):.4f}", flush=True)
            losses = []
        if tick.save:
            print(f"{run.name} {run.minutes:6.1f} min EER {run.save(tick.last):.2%}", flush=True)


def batches(run: Run) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """Views and what the run's teachers say of them, shard by shard in random order, without end."""
    chance = np.random.default_rng()
    while True:
        shards = sorted(run.school.shards.glob("*.safetensors"))
        if not shards:
            raise FileNotFoundError(f"no shards in {run.school.shards}; make some: python -m training.shards")
        shard = load_file(shards[chance.integers(len(shards))])
        try:
            targets = [shard[name].float().to(run.device) for name in run.school.lessons[run.name].teachers]
        except KeyError as teacher:
            raise ValueError(f"shards in {run.school.shards} were made without {teacher}; make new ones") from teacher
        for rows in torch.randperm(len(shard["images"])).split(BATCH):
            yield shard["images"][rows], [t[rows] for t in targets]


def _plain(net: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("student", choices=sorted({name for s in SCHOOLS.values() for name in s.lessons}))
    parser.add_argument("--like", help="the student whose weights, without the head, a new one begins with")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--falling", type=float, default=0.25, help="last share of the time, in which rates fall")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clean", action="store_true", help="of the licence class clean")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    school = SCHOOLS["clean" if args.clean else "research"]
    if args.student not in school.lessons:
        parser.error(f"{args.student} is no student of this licence class; these are: {', '.join(school.lessons)}")
    if args.like and school.weights(args.student):
        print(f"{args.student} goes on with its own weights, not with those of {args.like}")
    train(Run.start(school, args.student, args.like, device), args.minutes, args.falling)


if __name__ == "__main__":
    main()
