"""Do strangers' networks still match a face that is to be hidden from them? `make bench-hiding`

All methods whose promise is that machines do not match, and beside them what people use today, on photo `a` of the same
development pairs: success is that a network no longer matches photo `b` of the same person. Attacks on the very
surrogates of the methods (foolbox), blur, mosaic and noise are the baselines. Pictures lie in .work/hiding; look at
.work/hiding/<method>/index.html, which shows 24 faces before and after.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from foolbox.attacks import LinfPGD
from foolbox.attacks.base import Attack
from foolbox.attacks.mi_fgsm import LinfMomentumIterativeFastGradientMethod
from foolbox.criteria import Misclassification
from foolbox.models.pytorch import PyTorchModel
from PIL import Image
from rich.progress import track
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor, nn

from benchmarks import report
from benchmarks.strangers import (
    FARS,
    Pairs,
    Pixels,
    Recogniser,
    degradations,
    each,
    landmarks,
    purify,
    recognisers,
    to_photo,
)
from core import methods, objectives
from core.errors import NoFaceFound
from core.methods import cloak
from core.networks import Networks
from core.pipeline import Clock, make
from core.stages.align import AlignedFaces, align, paste
from core.stages.decouple import Identity, cosines, identify
from core.stages.optimise import Jitter, blur
from core.stages.regions import face_masks
from core.stages.validate import Photo

FOLDER = Path(".work/hiding")
SHOWN = 24  # faces of a contact sheet
EPSILON = 8 / 255  # of the attacks, per pixel
MOSAIC, BLUR, NOISE = 16, 8.0, 0.1  # px of the aligned face; standard deviation

# Salar et al. (CVPR 2025) and PerceptFace (arXiv:2509.11249), from their papers: other encoders, other thresholds.
PUBLISHED = (
    ("cloak, as published", "79 % on average at FAR 1e-2", "27.7", ".839"),
    ("perceptface, as published", "91 to 98 % at FAR 1e-3", "26.7", ".842"),
)

FIDELITY = ("PSNR", "SSIM", "distance", "landmarks")
Hide = Callable[[AlignedFaces, int], tuple[Photo, bool | None]]  # whether the promise held, where there is one


@dataclass(frozen=True, slots=True)
class Result:
    """Pictures in the order of the pairs, None where no face was found; seconds a face."""

    images: list[Pixels | None]
    held: list[bool]
    seconds: float


def by_method(name: str, config: Any, networks: Networks) -> Hide:
    method = methods.load(name)

    def hide(faces: AlignedFaces, seed: int) -> tuple[Photo, bool]:
        made = make(faces, method, config, seed, networks, Clock(lambda *_: None))
        return made.photos[0], made.held

    return hide


def by_filter(change: Callable[[Tensor], Tensor]) -> Hide:
    """Inside the face's outline, as redaction tools do."""

    def hide(faces: AlignedFaces, _: int) -> tuple[Photo, None]:
        x, mask = faces.images, face_masks(faces.landmarks, grow=0.12)
        return paste(replace(faces, whole=True), (x + mask * (change(x) - x)).clamp(0, 1)), None

    return hide


def by_attack(attack: Attack, networks: Networks) -> Hide:
    """An L-infinity attack on the mean cosine of the surrogates."""

    def hide(faces: AlignedFaces, seed: int) -> tuple[Photo, None]:
        torch.manual_seed(seed)
        net = Match(networks, faces, identify(networks.surrogates, faces.images, faces.landmarks))
        model = PyTorchModel(net.eval(), bounds=(0, 1))
        own = torch.zeros(len(faces), dtype=torch.long)
        _, images, _ = attack(model, faces.images, Misclassification(own), epsilons=EPSILON)
        return paste(replace(faces, whole=True), images), None

    return hide


class Match(nn.Module):
    """Two classes: the person, and anybody else."""

    def __init__(self, networks: Networks, faces: AlignedFaces, identity: Identity) -> None:
        super().__init__()
        self.networks, self.landmarks, self.identity = networks, faces.landmarks, identity

    def forward(self, x: Tensor) -> Tensor:
        cosine = cosines(self.networks.surrogates, x, self.landmarks, self.identity).mean((0, 1))
        return torch.stack((cosine, -cosine), 1)


def rivals(networks: Networks) -> dict[str, Hide]:
    """What there is without us."""
    generator = torch.Generator().manual_seed(0)

    def mosaic(x: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(x, MOSAIC).repeat_interleave(MOSAIC, 2).repeat_interleave(MOSAIC, 3)

    return {
        "blur": by_filter(lambda x: blur(x, BLUR)),
        "mosaic": by_filter(mosaic),
        "noise": by_filter(lambda x: x + NOISE * torch.randn(x.shape, generator=generator)),
        "PGD, 8/255": by_attack(LinfPGD(steps=20), networks),
        "MI-FGSM, 8/255": by_attack(LinfMomentumIterativeFastGradientMethod(steps=20), networks),
    }


def run(name: str, hide: Hide, data: Pairs, networks: Networks) -> Result:
    images: list[Pixels | None] = []
    held, began = [], time.perf_counter()
    for number, image in track(list(zip(data.numbers, data.a, strict=True)), name):
        try:
            faces = align(to_photo(image), networks.detector, networks.device, "largest")
        except NoFaceFound:
            images.append(None)
            continue
        picture, kept = hide(faces, number)
        images.append(picture.pixels)
        held += [] if kept is None else [kept]
    return Result(images, held, (time.perf_counter() - began) / len(data))


def fidelity(result: Result, data: Pairs, networks: Networks) -> list[str]:
    """PSNR, SSIM and structural distance to the source, and how far landmarks have moved from where they were in it, in
    shares of the distance of the eyes; mean."""
    scores, moved = [], []
    for image, source, marks in zip(result.images, data.a, data.marks_a, strict=True):
        if image is not None:
            before = source.permute(1, 2, 0).numpy()
            x, y = (torch.tensor(v).permute(2, 0, 1)[None].float() / 255 for v in (image, before))
            alike = float(objectives.structure(x, y, face_masks(marks[None])))
            similar = float(structural_similarity(before, image, channel_axis=-1))
            scores.append((peak_signal_noise_ratio(before, image), similar, 1 - alike))
            then, now = (landmarks(networks.detector, v) for v in (before, image))
            if then is not None and now is not None:
                # One detection alone is off by nearly as much as there is to measure.
                then, now = networks.detector.refine(torch.cat((y, x)), torch.stack((then, now)))
                moved.append(float((now - then).norm(dim=1).mean() / (then[1] - then[0]).norm()))
    psnr, ssim, distance = np.mean(scores, 0)
    return [f"{psnr:.1f}", f"{ssim:.3f}", f"{distance:.3f}", f"{np.mean(moved):.1%}"]


def hidden(images: list[Pixels | None], nets: list[Recogniser], networks: Networks) -> list[str]:
    """Share of pairs that no longer match, of those that did and have a picture, by judge and FAR."""
    marks = [landmarks(networks.detector, image) for image in images]
    there = [image is not None for image in images]
    return [f"{1 - net.success(images, marks, far, there):.1%}" for net in nets for far in FARS]


def write_sheet(name: str, result: Result, data: Pairs) -> Path:
    """Source, protected."""
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    faces = []
    for number, source, image in list(zip(data.numbers, data.a, result.images, strict=True))[:SHOWN]:
        if image is not None:
            pictures = {f"{number:03d}.source.png": to_photo(source).pixels, f"{number:03d}.protected.png": image}
            for file, pixels in pictures.items():
                Image.fromarray(pixels).save(folder / file)
            faces.append((f"{number:03d}", list(pictures)))
    return report.write_sheet(folder, f"{name}: source, protected", faces)


def ablate(networks: Networks, data: Pairs, judges: list[Recogniser], command: str) -> None:
    """The cloak, each time without one part; the denoiser's, which no preset uses, where the bundle has one."""
    standard = cloak.PRESETS["standard"]
    parts = {
        "standard": standard,
        "no synthetic target": replace(standard, pull=0.0),
        "a target that need not fit": replace(standard, fitting=cloak.EVERYBODY),
        "pixels without a limit": replace(standard, limit=1.0),
        "people always count the same": replace(standard, yielding=1.0),
        "no draws": replace(standard, jitter=Jitter(shift=0, scale=0, angle=0, light=0, blur=0)),
    }
    if networks.denoiser:
        through = replace(standard, depth=1)
        parts["through the denoiser"] = through
        parts["the same, no learned embeddings"] = replace(through, iterations=0)
        parts["the same, no attention guidance"] = replace(through, attention=0.0)
    ways: dict[str, Callable[[Pixels], Pixels]] = {
        "": lambda pixels: pixels,
        "after the autoencoder": partial(purify, networks=networks, start=None),
    }
    table = []
    for name, config in parts.items():
        result = run(name, by_method("cloak", config, networks), data, networks)
        cells = [cell for way in ways.values() for cell in hidden(each(way, result.images), judges, networks)[::2]]
        table.append([name, *cells, *fidelity(result, data, networks), f"{result.seconds:.1f}"])
    heads = [f"{net.name}{', ' if way else ''}{way}" for way in ways for net in judges]
    title = f"What the parts of the cloak contribute, {len(data)} pairs: `{command}`"
    head = ["", *heads, *FIDELITY, "s a face"]
    report.put("cloak-ablations", title, ["Hidden at FAR 1e-2.\n\n" + report.table(head, table)])


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.hiding", description=__doc__)
    parser.add_argument("--pairs", type=int, default=64, help="of 262, evenly over them")
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--methods", nargs="+", help="only these, into a section of their own")
    parser.add_argument("--ablate", action="store_true", help="what the parts of the cloak contribute")
    args = parser.parse_args()
    networks, data = Networks.load(device="cpu"), Pairs.read(args.pairs)
    judges = [net for net in recognisers(networks, data) if net.role == "judge"]
    if args.ablate:
        ablate(networks, data, judges, report.command(parser, args))
        return
    hiding = args.methods or [name for name in methods.names() if not methods.load(name).PROMISE.machines_match]
    ways = {name: by_method(name, methods.load(name).PRESETS[args.preset], networks) for name in hiding}
    ways |= {} if args.methods else rivals(networks)
    table, after = [], []
    for name, hide in ways.items():
        result = run(name, hide, data, networks)
        promise = f"{sum(result.held)} of {len(result.held)}" if result.held else ""
        cells = hidden(result.images, judges, networks)
        table.append([name, *cells, *fidelity(result, data, networks), promise, f"{result.seconds:.1f}"])
        if name in hiding:
            print(f"look at {write_sheet(name, result, data)}")
            after += [
                [f"{name}, {way}", *hidden(each(change, result.images), judges, networks)]
                for way, change in degradations(networks).items()
            ]
    published = [row for row in PUBLISHED if row[0].startswith(tuple(hiding))]
    table += [[name, figures, *[""] * 3, psnr, ssim, *[""] * 4] for name, figures, psnr, ssim in published]
    heads = [f"{net.name}, FAR {far:g}" for net in judges for far in FARS]
    report.put(
        "-".join(["hiding", args.preset, str(len(data)), *(args.methods or [])]),
        f"Hidden from strangers' networks, {len(data)} pairs, preset `{args.preset}`: `{report.command(parser, args)}`",
        [
            "Share of pairs that a judge no longer matches, of those that it matched before; PSNR (dB), SSIM and "
            "structural distance inside the face, all to the source; how far landmarks moved, of the distance of the "
            "eyes.\n\n" + report.table(["", *heads, *FIDELITY, "promise held", "s a face"], table),
            "After what strangers do to pictures:\n\n" + report.table(["picture", *heads], after),
        ],
    )


if __name__ == "__main__":
    main()
