"""What do attackers get out of protected photos who try? `make bench-attacks`, or with `--pairs 50 --test 16`

Every method of the register against attackers who own pairs (protected, original) of other people: a recogniser and a
decoder that learn from them; against linkage of two protected photos of a person; and against purification. Tried on
development pairs, which no attacker has seen. Protected faces and pictures to look at are kept in .work/attacks: a
further run goes on where one stopped.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from PIL import Image
from rich.progress import track
from torch import Tensor

from benchmarks import attackers, look, protected, report
from benchmarks.attackers import Owned
from benchmarks.strangers import FARS, Pairs, Pixels, Recogniser, degradations, each, landmarks, recognisers, to_images
from core import methods, objectives
from core.networks import Encoder, Networks
from core.stages.align import align
from core.stages.measure import measure
from core.stages.recompose import RECOGNISABLE
from core.stages.regions import region_weights
from core.stages.validate import Photo
from training import portraits

START = "student-residual"  # what attackers begin with: the best of the packaged students
LEARNERS = 4  # seeds of a recogniser: by one alone a share of few photos says little
SHOWN = 8  # faces of a contact sheet


@dataclass(frozen=True)
class Case:
    """A method's protected photos of the test pairs."""

    name: str
    preset: str
    data: Pairs
    networks: Networks

    @cached_property
    def a(self) -> list[Pixels | None]:
        return protected.protect(self.name, self.preset, protected.tested(self.data, "a"), self.networks)

    @cached_property
    def b(self) -> list[Pixels | None]:
        return protected.protect(self.name, self.preset, protected.tested(self.data, "b"), self.networks)

    @property
    def machines_match(self) -> bool:
        return methods.load(self.name).PROMISE.machines_match

    def owned(self, count: int) -> Owned:
        originals = protected.owned(count)
        images = protected.protect(self.name, self.preset, originals, self.networks)
        return Owned.of(images, originals)


def recognition(
    start: Encoder, learners: list[Encoder], images: Tensor, marks: Tensor, numbers: list[int]
) -> list[str]:
    """Share of photos that match photo `b` of their person at both FARs, by thresholds that the attacker measures; mean
    over the learners, and the most of any."""
    everybody = Pairs.read(10**6)
    gallery = torch.cat([start.identity(x.float() / 255, m) for x, m in
                         zip(everybody.b.split(32), everybody.marks_b.split(32), strict=True)])  # fmt: skip
    own = torch.zeros(len(numbers), len(gallery), dtype=torch.bool)
    own[torch.arange(len(numbers)), [everybody.numbers.index(n) for n in numbers]] = True
    shares = np.array([matches(learner.identity(images, marks) @ gallery.T, own) for learner in learners])
    few = [f"{share:.0%}" for share in shares.mean(0)]
    return (
        few
        if len(learners) == 1
        else [f"{mean} (at most {most:.0%})" for mean, most in zip(few, shares.max(0), strict=True)]
    )


def matches(cosines: Tensor, own: Tensor) -> list[float]:
    """Share of own cosines, by FAR, that are beyond the threshold which the others have."""
    return [float((cosines[own] >= torch.quantile(cosines[~own], 1 - far)).float().mean()) for far in FARS]


def distillation(case: Case, sizes: list[int], learners: int) -> list[list[str]]:
    """Originals, protected photos before, and after learning from each number of pairs."""
    (start,) = (e for e in case.networks.encoders if e.name == START)
    data = case.data
    found = [(n, i, m) for n, i in zip(data.numbers, case.a, strict=True)
             if i is not None and (m := landmarks(case.networks.detector, i)) is not None]  # fmt: skip
    numbers = [n for n, _, _ in found]
    images, marks = to_images([i for _, i, _ in found]), torch.stack([m for _, _, m in found])
    table = [
        ["original", *recognition(start, [start], data.a.float() / 255, data.marks_a, data.numbers)],
        ["protected", *recognition(start, [start], images, marks, numbers)],
    ]
    for size in sizes:
        taught = [attackers.reader(start, case.owned(size), seed) for seed in range(learners)]
        table.append([f"after {size} pairs", *recognition(start, taught, images, marks, numbers)])
    return table


def redrawn(case: Case, sizes: list[int], nets: list[Recogniser]) -> list[list[str]]:
    """What decoders make of protected photos, beside these."""
    (eye,) = (e for e in case.networks.encoders if e.name == START)
    people = [look.line_up(case.data, i) for i in range(len(case.data))]
    shown = [("protected", case.a)]
    for size in sizes:
        decoder = attackers.decoder(case.owned(size), eye, case.networks)
        shown.append((f"after {size} pairs", [None if i is None else _redraw(decoder, i) for i in case.a]))
    write_sheet(case, shown)
    return [[name, *scores(images, case, nets, people)] for name, images in shown]


def _redraw(decoder: attackers.Decoder, image: Pixels) -> Pixels:
    (drawn,) = decoder(to_images([image]))
    return np.asarray(drawn.permute(1, 2, 0).mul(255).round().byte())


def scores(images: list[Pixels | None], case: Case, nets: list[Recogniser], people: list[list[look.Look]]) -> list[str]:
    """PSNR; distance; shares that look like the person, and that a line-up gives away; shares matched."""
    data, found = case.data, []
    for i, image in enumerate(images):
        if image is not None:
            x, y = image[None], data.a[i].permute(1, 2, 0).numpy()[None]
            error = float(np.mean((x.astype(float) - y) ** 2))
            features = region_weights(data.marks_a[i : i + 1])
            distance = 1 - float(objectives.likeness(to_images([image]), data.a[i : i + 1].float() / 255, features))
            known = look.picked(look.Look.of(np.asarray(image / 255, np.float32)), people[i])["face"]
            found.append((10 * np.log10(255**2 / error), distance, distance < 1 - RECOGNISABLE, known))
    psnr, distance, alike, picked = np.mean(found, 0)
    marks = [landmarks(case.networks.detector, image) for image in images]
    matched = [f"{net.success(images, marks, far):.0%}" for net in nets for far in FARS]
    return [f"{psnr:.1f}", f"{distance:.3f}", f"{alike:.0%}", f"{picked:.0%}", *matched]


def write_sheet(case: Case, shown: list[tuple[str, list[Pixels | None]]]) -> None:
    """Originals, protected photos and what decoders make of them, a column a photo."""
    rows = [[image.permute(1, 2, 0).numpy() for image in case.data.a], *(images for _, images in shown)]
    blank = np.zeros((256, 256, 3), np.uint8)
    sheet = np.vstack([np.hstack([blank if i is None else i for i in row[:SHOWN]]) for row in rows])
    path = protected.folder_of(case.name, case.preset, case.networks) / "decoded.png"
    Image.fromarray(sheet).save(path)
    print(f"look at {path}")


def linkage(case: Case, nets: list[Recogniser]) -> list[list[str]]:
    """Two photos of a person, both as they are and both protected; the latter also at thresholds that the attacker
    measures on protected photos of different people, who may be alike in how they were protected."""
    cells: list[list[str]] = [[], [], []]
    for net, cosines in zip(nets, across(case.a, case.b, nets, case.networks), strict=True):
        for far in FARS:
            cells[0].append(f"{(net.before >= net.cuts[far]).float().mean():.0%}")
            cells[1].append(f"{(cosines.diagonal() >= net.cuts[far]).float().mean():.0%}")
        own = torch.eye(len(cosines), dtype=torch.bool)
        cells[2] += [f"{share:.0%}" for share in matches(cosines, own)]
    names = "originals", "protected", "protected, at thresholds of protected strangers"
    return [[name, *some] for name, some in zip(names, cells, strict=True)]


def across(
    a: list[Pixels | None], b: list[Pixels | None], nets: list[Recogniser], networks: Networks
) -> Iterator[Tensor]:
    """By network the cosines of every photo `a` with every photo `b`, (N, N), of whom a face is found in both."""
    marks = [[landmarks(networks.detector, image) for image in images] for images in (a, b)]
    both = [
        (x, y, *found) for x, y, *found in zip(a, b, *marks, strict=True) if all(mark is not None for mark in found)
    ]
    first, second, marks_a, marks_b = zip(*both, strict=True)
    for net in nets:
        of_a, of_b = (
            net.net.embed(to_images(list(images)), torch.stack(found))
            for images, found in ((first, marks_a), (second, marks_b))
        )
        yield of_a @ of_b.T


def purification(case: Case) -> list[list[str]]:
    """Share of photos that hold their promise, as they are and after what is done to them."""
    ways = {"as protected": lambda pixels: pixels} | degradations(case.networks)
    return [
        [way, held(case, each(change, case.a))] for way, change in track(ways.items(), f"{case.name}, purification")
    ]


def held(case: Case, images: list[Pixels | None]) -> str:
    """How many photos hold the method's promise, measured as the pipeline does."""
    method, networks = methods.load(case.name), case.networks
    margin, results = method.PRESETS[case.preset].margin, []
    for image, original in zip(images, protected.tested(case.data, "a"), strict=True):
        if image is not None:
            faces = align(Photo(original.pixels), networks.detector, networks.device, "largest")
            (row,) = measure(faces, Photo(image), networks, method.PROMISE, margin)
            results.append(row["held"])
    return f"{sum(results)} of {len(results)}"


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.attacks", description=__doc__)
    parser.add_argument("--pairs", type=int, nargs="*", default=[50, 200], help="that attackers own")
    parser.add_argument("--learners", type=int, default=LEARNERS, help="that learn to read, from the same pairs")
    parser.add_argument("--test", type=int, default=32, help="of 262 pairs, evenly over them")
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--methods", nargs="+", default=methods.names(), choices=methods.names())
    parser.add_argument("--protect", action="store_true", help="only make the protected faces that are missing")
    args = parser.parse_args()
    networks, data = Networks.load(device="cpu"), Pairs.read(args.test)
    nets = recognisers(networks, data)
    for name in args.methods:
        case = Case(name, args.preset, data, networks)
        owned = [len(case.owned(size)) for size in args.pairs]
        tried = [len(case.a), 0 if case.machines_match else len(case.b)]
        print(f"{name}: protected {tried} to be tried, {owned} to be owned")
        if not args.protect:
            command = report.command(parser, argparse.Namespace(**vars(args) | {"methods": [name]}))
            write(case, args.pairs, args.learners, nets, command)


def write(case: Case, sizes: list[int], learners: int, nets: list[Recogniser], command: str) -> None:
    """All attacks on a method, and their section of RESULTS.md, which grows as they end: each may take an hour."""
    key = "-".join(["attacks", case.name, case.preset, *map(str, sizes)])
    title = f"Attackers on `{case.name}`, {len(case.data)} test pairs, preset `{case.preset}`: `{command}`"
    strangers = [net for net in nets if net.role in ("referee", "judge")]
    judges = [net for net in nets if net.role == "judge"]
    heads, judged = ([f"{net.name}, FAR {far:g}" for net in some for far in FARS] for some in (strangers, judges))
    parts = [
        f"Attackers own {' or '.join(map(str, sizes))} pairs (protected, original) of other people, made of official "
        f"portraits of {len(portraits.people())} people: of more pairs some show a portrait under another secret again."
    ]
    if case.machines_match:
        parts.append("Machines match these photos by design, so no recogniser is taught to, and linkage is a given.")
    else:
        parts += [
            f"A recogniser ({START}) that learns to read originals in protected photos: share of photos matched with "
            "the other, unprotected photo of their person, at thresholds that the attacker measures on the impostors "
            f"of the test; mean of {learners} that learn from the same pairs in another order, and the best of them."
            "\n\n" + report.table(["photos", *(f"FAR {far:g}" for far in FARS)], distillation(case, sizes, learners)),
            "Linkage: two photos of a person, each protected by itself, matched with one another.\n\n"
            + report.table(["photos", *judged], linkage(case, judges)),
        ]
        report.put(key, title, parts)
    crowd = look.people(case.data)
    parts.append(
        "A decoder that learns to draw originals: PSNR (dB) and distance (1 - likeness) to the original; how many come "
        f"so near (below {1 - RECOGNISABLE:.2f}) that they may look like the person; how often the look alone picks "
        f"the person out of a line-up of {crowd} (chance: {1 / crowd:.0%}); and how many networks match with the "
        "person's other photo, of those that they matched before.\n\n"
        + report.table(["photos", "PSNR", "distance", "alike", "picked", *heads], redrawn(case, sizes, strangers))
    )
    report.put(key, title, parts)
    parts.append(
        "The promise after purification, measured as for a report.\n\n"
        + report.table(["photos", "promise held"], purification(case))
    )
    report.put(key, title, parts)


if __name__ == "__main__":
    main()
