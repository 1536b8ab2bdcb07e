"""Do the variants of a photo match one another? `python -m benchmarks.variants`

Each photo `a` of some development pairs is protected in several variants by each method that hides a face. Who holds
two of them is not to know that they show the same face.
"""

from __future__ import annotations

import argparse
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.progress import track

from benchmarks import report
from benchmarks.strangers import FARS, Pairs, Pixels, Recogniser, landmarks, recognisers, to_images, to_photo
from core import methods
from core.errors import NoFaceFound
from core.networks import Networks
from core.pipeline import Request, attempt

FOLDER = Path(".work/variants")


def variants(method: str, data: Pairs, networks: Networks, count: int) -> tuple[list[list[Pixels]], int]:
    """Of each photo, and how many photos hold their promise in all of them."""
    made, held = [], 0
    for number, image in track(list(zip(data.numbers, data.a, strict=True)), method):
        request = Request(method, seed=number, variants=count)
        try:
            result = attempt(to_photo(image), request, networks, lambda *_: None)
        except NoFaceFound:
            continue
        made.append([photo.pixels for photo in result.protected])
        held += result.held
    return made, held


def matched(photos: list[list[Pixels]], net: Recogniser, networks: Networks) -> list[str]:
    """Share of pairs of variants that match, and of photos of which no two do, by FAR."""
    likeness = []
    for pictures in photos:
        found = [(p, m) for p in pictures if (m := landmarks(networks.detector, p)) is not None]
        images = to_images([p for p, _ in found])
        with torch.no_grad():
            vectors = net.net.embed(images, torch.stack([m for _, m in found]))
        likeness.append([float(vectors[i] @ vectors[j]) for i, j in combinations(range(len(found)), 2)])
    cells = []
    for far in FARS:
        pairs = np.mean([cosine >= net.cuts[far] for row in likeness for cosine in row])
        apart = sum(max(row, default=-1.0) < net.cuts[far] for row in likeness)
        cells.append(f"{pairs:.0%} / {apart} of {len(photos)}")
    return cells


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.variants", description=__doc__)
    parser.add_argument("--photos", type=int, default=8, help="of 262, evenly over them")
    parser.add_argument("--variants", type=int, default=8)
    parser.add_argument("--methods", nargs="+", help="only these")
    args = parser.parse_args()
    networks, data = Networks.load(), Pairs.read(args.photos)
    judges = [net for net in recognisers(networks, data) if net.role == "judge"]
    hiding = [name for name in methods.names() if not methods.load(name).PROMISE.machines_match]
    FOLDER.mkdir(parents=True, exist_ok=True)
    table = []
    for name in args.methods or hiding:
        made, held = variants(name, data, networks, args.variants)
        Image.fromarray(np.vstack([np.hstack(row) for row in made])).save(FOLDER / f"{name}.png")
        print(f"look at {FOLDER / name}.png")
        cells = [cell for net in judges for cell in matched(made, net, networks)]
        table.append([name, f"{held} of {len(made)}", *cells])
    heads = [f"{net.name}, FAR {far:g}" for net in judges for far in FARS]
    report.put(
        "-".join(["variants", *(args.methods or [])]),
        f"{args.variants} variants of a photo, {len(data)} photos, preset `standard`: `{report.command(parser, args)}`",
        [
            "Share of the pairs of variants that match one another, and photos of which no two variants do. Photos of "
            "two strangers match in as many cases as the false-accept rate says.\n\n"
            + report.table(["", "promise held", *heads], table),
        ],
        networks.device,
    )


if __name__ == "__main__":
    main()
