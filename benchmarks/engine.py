"""What the engine does to real photos: `make bench`, or `python -m benchmarks.engine --photos 40`.

Protects photos of ../shared/data/portraits (us_house and london_set), restores each, and reports the share of promises
kept and the time. Strangers' networks are asked in benchmarks/privacy.py. Writes its section of RESULTS.md and, to
look at, a contact sheet into .work/ (never committed: it shows real people).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.progress import track
from torch import Tensor

from benchmarks import look, report
from core import objectives
from core.networks import Networks
from core.networks.personas import Traits
from core.pipeline import Outcome, Request, attempt
from core.stages.align import align
from core.stages.decouple import decouple, to_arrays
from core.stages.validate import read_photo
from training import portraits
from training.portraits import Portrait

SHEET = Path(".work/engine-sheet.png")


def choose(count: int) -> list[Portrait]:
    """Half us_house, half london_set, evenly over each."""
    chosen = []
    for source in ("us_house", "london_set"):
        rows = portraits.read((source,))
        chosen += rows[:: max(1, len(rows) // (count // 2))][: count // 2]
    return chosen


def protect_all(rows: list[Portrait], preset: str, networks: Networks) -> list[tuple[Portrait, Outcome | None, float]]:
    """Outcome (None: an error) and seconds of each photo."""
    done: list[tuple[Portrait, Outcome | None, float]] = []
    for row in track(rows, f"protect ({preset})"):
        began = time.perf_counter()
        try:
            outcome = attempt(read_photo(row.path.read_bytes()), Request(preset=preset, seed=1), networks, _silent)
        except Exception as error:
            print(f"{row.path.name}: {type(error).__name__}: {error}")
            done.append((row, None, time.perf_counter() - began))
        else:
            done.append((row, outcome, time.perf_counter() - began))
    return done


def summary(done: list[tuple[Portrait, Outcome | None, float]]) -> dict[str, str]:
    """Shares and means as text."""
    good = [(row, o, s) for row, o, s in done if o is not None]
    faces = [face for _, o, _ in good for variant in o.report["variants"] for face in variant]
    margins = [e["cosine"] >= e["required"] for f in faces for e in f["encoders"].values()]
    exact = [
        bool(np.array_equal(o.restoration.apply(o.protected[0].pixels), read_photo(row.path.read_bytes()).pixels))
        for row, o, _ in good
    ]
    return {
        "protected without error": f"{len(good)} of {len(done)}",
        "promise held": f"{sum(o.held for _, o, _ in good)} of {len(good)}",
        "encoders that hold": f"{sum(margins)} of {len(margins)}",
        "restored bit for bit": f"{sum(exact)} of {len(good)}",
        "cosine, mean": ", ".join(
            f"{name} {np.mean([f['encoders'][name]['cosine'] for f in faces]):.3f}" for name in faces[0]["encoders"]
        ),
        "distance to source, mean": f"{np.mean([f['distance_to_source'] for f in faces]):.2f}",
        "distance to persona, mean": f"{np.mean([f['distance_to_persona'] for f in faces]):.3f}",
        "seconds a photo, median": f"{np.median([s for _, _, s in done]):.1f}",
        "seconds a photo, slowest": f"{max(s for _, _, s in done):.1f}",
    }


def reference(networks: Networks) -> dict[str, str]:
    """How alike a photo and another are drawn whose face is put into it like a persona's (london_set)."""
    shown = {
        row.path.stem: Shown.of(row, networks) for row in track(portraits.read(("london_set",)), "likeness of photos")
    }
    names = sorted(n for n in shown if n.endswith("_neutral") and n.replace("neutral", "smiling") in shown)
    kinds = ("one person, neutral and smiling", "two people", "two people who fit")
    found: dict[str, list[float]] = {f"{kind}, {by}": [] for by in ("likeness", "structure") for kind in kinds}
    for i, name in enumerate(names):
        others = [n for n in names if n != name]
        fit = min(others, key=lambda n: shown[name].traits.distance(shown[n].traits))
        pairs = (name.replace("neutral", "smiling"), others[(i + 7) % len(others)], fit)
        for kind, other in zip(kinds, pairs, strict=True):
            likeness, structure = shown[name].alike(shown[other])
            found[f"{kind}, likeness"].append(likeness)
            found[f"{kind}, structure"].append(structure)
    return {k: ", ".join(f"{q} %: {np.percentile(alike, q):.2f}" for q in (5, 50, 95)) for k, alike in found.items()}


@dataclass(frozen=True, slots=True)
class Shown:
    """The face of a photo, RGB in [0, 1] (256, 256, 3), its landmarks (5, 2), by what of it two are told apart,
    where it is to be known again, both (1, 1, 256, 256), and traits."""

    face: look.Face
    landmarks: look.Marks
    features: Tensor
    mask: Tensor
    traits: Traits

    @classmethod
    def of(cls, row: Portrait, networks: Networks) -> Shown:
        faces = align(read_photo(row.path.read_bytes()), networks.detector, networks.device, "largest")
        _, appearance = decouple(faces, networks)
        (face,), (landmarks,) = to_arrays(faces.images), faces.landmarks.cpu().numpy()
        return cls(face, landmarks, appearance.features.cpu(), appearance.masks.cpu(), appearance.traits[0])

    def alike(self, other: Shown) -> tuple[float, float]:
        """Likeness and structure that this face shares with itself with the other's inside."""
        worn = look.worn_by(self.face, self.landmarks, np.rint(other.face * 255).astype(np.uint8), other.landmarks)
        a, b = (torch.from_numpy(x).permute(2, 0, 1)[None] for x in (worn, self.face))
        return float(objectives.likeness(a, b, self.features)), float(objectives.structure(a, b, self.mask))


def draw_sheet(done: list[tuple[Portrait, Outcome | None, float]]) -> None:
    """Source and protected photo in pairs."""
    pairs = []
    for row, outcome, _ in done:
        if outcome is not None:
            source = read_photo(row.path.read_bytes())
            pairs.append(np.concatenate((source.pixels, outcome.protected[0].pixels), 1))
    across = 5
    pairs += [np.zeros_like(pairs[0])] * (-len(pairs) % across)
    grid = np.concatenate([np.concatenate(pairs[i : i + across], 1) for i in range(0, len(pairs), across)])
    SHEET.parent.mkdir(exist_ok=True)
    Image.fromarray(grid).resize((grid.shape[1] * 5 // 8, grid.shape[0] * 5 // 8)).save(SHEET)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=40)
    args = parser.parse_args()
    networks = Networks.load()
    rows = choose(args.photos)
    with torch.no_grad():
        photos = reference(networks)
    parts = [
        "Portraits that our networks and personas were made from, too: this is about speed and that nothing breaks."
    ]
    for preset in ("natural", "standard", "strong"):
        done = protect_all(rows, preset, networks)
        parts.append(f"### {args.photos} photos, preset `{preset}`\n\n" + report.bullets(summary(done)))
        if preset == "standard":
            draw_sheet(done)
    parts.append("### How alike two photos are drawn\n\n" + report.bullets(photos))
    report.put("engine", "Engine: `make bench`", parts, networks.device)


def _silent(_: str, __: float) -> None:
    return None


if __name__ == "__main__":
    main()
