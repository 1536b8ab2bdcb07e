"""Views and what every teacher makes of them: `python -m training.shards --count 8`

Shards lie in .work/views; a further run adds new ones. The students that views are made for are those of
`training.students` as they are, or the packaged ones: shards made between two runs hold what is still hard for them.
Teachers are those of ../shared/judges, and FaceNet where there is one (`training.facenet`). `--clean` takes clean
portraits only, and dlib's network (CC0) as the teacher.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import torch
from rich.progress import track
from safetensors.torch import save_file
from torch import Tensor, nn

from core.networks import Networks
from core.networks.encoder import Encoder
from training import facenet, portraits, teachers, views
from training.composites import middle
from training.precision import fast
from training.students import SCHOOLS

SHARD = 8192  # views
TEACHERS_SIDE = 112  # px
Teacher = Callable[[Tensor], Tensor]  # views, RGB in [0, 1], to unit vectors


def researchers(device: torch.device) -> dict[str, Teacher]:
    """The teachers of ../shared/judges, who see the middle of a view."""
    wide = torch.channels_last

    def read(network: nn.Module, seen: Tensor) -> Tensor:
        vectors: Tensor = network(middle(seen, TEACHERS_SIDE).to(memory_format=wide))
        return vectors

    networks = (t.to(device, memory_format=wide) for t, _ in teachers.networks("teacher"))
    found = {t.name: partial(read, t) for t in networks}
    return found | (as_teacher(other, device) if (other := facenet.load()) else {})


def dlib_alone(device: torch.device) -> dict[str, Teacher]:
    """dlib's network, as the bundle has calibrated it. Views lose it nothing: it errs as rarely in 128 px as in 256."""
    (dlib,) = (e for e in Networks.load(device=str(device)).encoders if e.name == "dlib")
    return as_teacher(dlib, device)


def as_teacher(encoder: Encoder, device: torch.device) -> dict[str, Teacher]:
    """An encoder that cuts a crop of its own from views."""
    there, marks = encoder.to(device), torch.tensor(views.TEMPLATE, device=device)
    return {encoder.name: lambda seen: there.embed(seen, marks.expand(len(seen), -1, -1))}


def make_shard(
    generator: torch.Generator,
    networks: dict[str, Teacher],
    draw: Callable[[torch.Generator], Tensor],
    device: torch.device,
    label: str,
) -> dict[str, Tensor]:
    """SHARD views: images uint8, and the unit vectors of each teacher in half precision, by its name."""
    images: list[Tensor] = []
    vectors: dict[str, list[Tensor]] = {name: [] for name in networks}
    for _ in track(range(SHARD // views.BATCH), label):
        eight = (draw(generator) * 255).round().byte()
        images.append(eight)
        seen = eight.to(device).float() / 255
        with torch.no_grad(), fast(device):
            for name, read in networks.items():
                vectors[name].append(read(seen).half().cpu())
    return {"images": torch.cat(images)} | {name: torch.cat(v) for name, v in vectors.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=8, help=f"of {SHARD} views each")
    parser.add_argument("--clean", action="store_true", help="for students of the licence class clean")
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    school = SCHOOLS["clean" if args.clean else "research"]
    school.shards.mkdir(parents=True, exist_ok=True)
    networks = dlib_alone(device) if args.clean else researchers(device)
    faces = views.Faces.read(portraits.CLEAN if args.clean else portraits.ALL)
    first = 1 + max((int(path.stem) for path in school.shards.glob("*.safetensors")), default=-1)
    for number in range(first, first + args.count):
        generator = torch.Generator().manual_seed(number)
        draw = partial(views.draw, faces, students=school.surrogates(), invented=args.clean)
        shard = make_shard(generator, networks, draw, device, f"shard {number}")
        fresh = school.shards / f"{number:03d}.new"
        save_file(shard, fresh)
        fresh.rename(fresh.with_suffix(".safetensors"))


if __name__ == "__main__":
    main()
