"""Does `--consistent` know people again, and does one persona suit all photos of one? `python -m benchmarks.people`

On the development pairs, never trained on: two photos of each of 262 people for telling them apart; some of them are
protected under one persona.
"""

from __future__ import annotations

import argparse
from itertools import pairwise

import numpy as np
import torch
from PIL import Image
from rich.progress import track
from torch import Tensor

from benchmarks import report
from benchmarks.strangers import FARS, Pairs, Recogniser, landmarks, recognisers, to_images, to_photo
from core.methods import id2face
from core.networks import Networks
from core.networks.personas import plain
from core.pipeline import Request, attempt
from core.pseudonyms import Album, draw
from core.stages.decouple import Identity
from core.stages.people import tell_apart
from core.stages.validate import Photo
from training import pairs

SHEET = ".work/attacks/consistent.png"
SHOWN = 8  # people of a contact sheet


def told_apart(networks: Networks) -> dict[str, str]:
    """How often two photos of a person are known as such, and how many people are mixed up."""
    images, marks = pairs.read()
    vectors = {e.name: pairs.embed(e, images, marks) for e in track(networks.surrogates, "all pairs")}
    n = len(images) // 2
    names = [str(i) for i in range(2 * n)]
    found = np.array(tell_apart(Identity(vectors), names, networks.surrogates))
    people = np.arange(2 * n) % n
    mixed = {int(p) for k in set(found.tolist()) if len(group := set(people[found == k].tolist())) > 1 for p in group}
    return {
        f"people of {n} whose two photos are known to be one person's": f"{int((found[:n] == found[n:]).sum())}",
        "people who are taken for another": f"{len(mixed)}",
        "people found": f"{len(set(found.tolist()))}",
    }


def found(networks: Networks, image: Tensor) -> bool:
    """Whether there is a face to protect: in two photos of the pairs the detector finds none."""
    return landmarks(networks.detector, to_photo(image).pixels) is not None


def protected(data: Pairs, networks: Networks, consistent: bool) -> tuple[list[Photo], list[str], int]:
    """Photos `a`, then `b`, by method `id2face`; the persona of each; how many hold their promise."""
    photos = {f"{n}{kind}": to_photo(image)
              for kind, images in (("a", data.a), ("b", data.b))
              for n, image in zip(data.numbers, images, strict=True)}  # fmt: skip
    given: dict[str, tuple[str, ...]] = {}
    if consistent:
        album = Album(list(photos), photos.__getitem__, networks)
        given = draw(album, id2face.PRESETS["standard"], {}, torch.Generator().manual_seed(0), lambda *_: None)
    pictures, personas, held = [], [], 0
    for seed, (name, photo) in enumerate(track(photos.items(), "consistent" if consistent else "each by itself")):
        request = Request("id2face", seed=seed, personas=given.get(name, ()))
        made = attempt(photo, request, networks, lambda *_: None)
        pictures.append(made.protected[0])
        personas.append(plain(made.report["variants"][0][0]["persona"]))
        held += made.held
    return pictures, personas, held


def row(name: str, made: tuple[list[Photo], list[str], int], nets: list[Recogniser], networks: Networks) -> list[str]:
    """Promise; same persona; two protected photos matched with one another; `a` matched with the original `b`."""
    pictures, personas, held = made
    n = len(pictures) // 2
    marks = [landmarks(networks.detector, picture.pixels) for picture in pictures]
    cells = []
    for net in nets:
        images = to_images([p.pixels for p in pictures])
        vectors = net.net.embed(images, torch.stack([torch.zeros(5, 2) if m is None else m for m in marks]))
        for far in FARS:
            linked = float(((vectors[:n] * vectors[n:]).sum(1) >= net.cuts[far]).float().mean())
            kept = net.success([p.pixels for p in pictures[:n]], marks[:n], far)
            cells.append(f"{linked:.0%} / {kept:.0%}")
    same = sum(a == b for a, b in zip(personas[:n], personas[n:], strict=True))
    return [name, f"{held} of {2 * n}", f"{same} of {n}", *cells]


def write_sheet(data: Pairs, made: list[tuple[list[Photo], list[str], int]]) -> None:
    """A column a person: photos `a` and `b`, then each way of protecting them."""
    n, rows = len(data), [[image.permute(1, 2, 0).numpy() for image in images[:SHOWN]] for images in (data.a, data.b)]
    rows += [[p.pixels for p in pictures[i:j][:SHOWN]] for pictures, *_ in made for i, j in pairwise((0, n, 2 * n))]
    Image.fromarray(np.vstack([np.hstack(row) for row in rows])).save(SHEET)
    print(f"look at {SHEET}")


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.people", description=__doc__)
    parser.add_argument("--people", type=int, default=16, help="of 262, evenly over them")
    args = parser.parse_args()
    networks, data = Networks.load(), Pairs.read(args.people)
    data = data.part([i for i in range(len(data)) if all(found(networks, x[i]) for x in (data.a, data.b))])
    judges = [net for net in recognisers(networks, data) if net.role == "judge"]
    ways = {"each by itself": False, "consistent": True}
    made = [protected(data, networks, consistent) for consistent in ways.values()]
    write_sheet(data, made)
    table = [row(name, part, judges, networks) for name, part in zip(ways, made, strict=True)]
    heads = [f"{net.name}, FAR {far:g}: linked / found" for net in judges for far in FARS]
    report.put(
        "people",
        f"One new identity a person (`--consistent`), {len(data)} people: `{report.command(parser, args)}`",
        [
            report.bullets(told_apart(networks)),
            "Two photos of each person by `id2face`. Linked: the protected photos match one another, which is what "
            "`--consistent` is for. Found: a protected photo matches the person's other, unprotected photo, of those "
            "that matched before.\n\n" + report.table(["", "promise held", "same persona", *heads], table),
        ],
        networks.device,
    )


if __name__ == "__main__":
    main()
