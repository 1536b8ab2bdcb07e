"""Views and what every teacher makes of them: `python -m training.shards --count 8`

Shards lie in .work/views; a further run adds new ones. The students that views are made for are those of
`training.students` as they are, or the packaged ones: shards made between two runs hold what is still hard for them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from rich.progress import track
from safetensors.torch import save_file
from torch import Tensor

from training import portraits, students, teachers, views
from training.composites import middle
from training.precision import fast

SHARD = 8192  # views
TEACHERS_SIDE = 112  # px


def make_shard(faces: views.Faces, generator: torch.Generator, device: torch.device, label: str) -> dict[str, Tensor]:
    """SHARD views: images uint8, and the unit vectors of each teacher in half precision, by its name."""
    wide = torch.channels_last
    networks = [t.to(device, memory_format=wide) for t, _ in teachers.networks("teacher")]
    persuadable = students.surrogates()
    images: list[Tensor] = []
    vectors: dict[str, list[Tensor]] = {t.name: [] for t in networks}
    for _ in track(range(SHARD // views.BATCH), label):
        eight = (views.draw(faces, generator, persuadable) * 255).round().byte()
        images.append(eight)
        crops = middle(eight, TEACHERS_SIDE).to(device, memory_format=wide).float() / 255
        with torch.no_grad(), fast(device):
            for teacher in networks:
                vectors[teacher.name].append(teacher(crops).half().cpu())
    return {"images": torch.cat(images)} | {name: torch.cat(v) for name, v in vectors.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=8, help=f"of {SHARD} views each")
    parser.add_argument("--clean", action="store_true", help="public-domain and CC-BY portraits only")
    parser.add_argument("--out", type=Path, default=students.SHARDS)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    faces = views.Faces.read(portraits.CLEAN if args.clean else portraits.ALL)
    first = 1 + max((int(path.stem) for path in args.out.glob("*.safetensors")), default=-1)
    for number in range(first, first + args.count):
        generator = torch.Generator().manual_seed(number)
        shard = make_shard(faces, generator, device, f"shard {number}")
        fresh = args.out / f"{number:03d}.new"
        save_file(shard, fresh)
        fresh.rename(fresh.with_suffix(".safetensors"))


if __name__ == "__main__":
    main()
