"""What the engine does to real photos: `make bench`, or `python -m benchmarks.engine --photos 40`.

Protects photos of ../shared/data/portraits (us_house and london_set), restores each, and reports the share of
promises kept, time, and how often unseen networks still match the person: the teachers and judges of
../shared/judges, none of which the engine saw, on *another* photo of the same person (london_set: protected
neutral against smiling; pairs that match before protection only). Writes its section of RESULTS.md and, to look
at, a contact sheet into .work/ (never committed: it shows real people).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.progress import track

from benchmarks import report
from core import objectives
from core.networks import Networks, Persona
from core.networks.personas import Traits
from core.pipeline import Outcome, Request, attempt
from core.stages.align import find
from core.stages.decouple import face_mask
from core.stages.recompose import compose
from core.stages.validate import Photo, read_photo
from training import portraits, teachers
from training.portraits import Portrait

SHEET = Path(".work/engine-sheet.png")
FARS = (1e-2, 1e-3)


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
        "surrogate margins held": f"{sum(margins)} of {len(margins)}",
        "restored bit for bit": f"{sum(exact)} of {len(good)}",
        "cosine by dlib, mean": f"{np.mean([f['encoders']['dlib']['cosine'] for f in faces]):.3f}",
        "distance to source, mean": f"{np.mean([f['distance_to_source'] for f in faces]):.2f}",
        "distance to persona, mean": f"{np.mean([f['distance_to_persona'] for f in faces]):.3f}",
        "seconds a photo, median": f"{np.median([s for _, _, s in done]):.1f}",
        "seconds a photo, slowest": f"{max(s for _, _, s in done):.1f}",
    }


def unseen(networks: Networks, preset: str, people: int) -> list[list[str]]:
    """Rows (network, role, people, TAR before, after) at both FARs; protected neutral against smiling."""
    rows = {r.path.stem: r for r in portraits.read(("london_set",))}
    names = [n for n in rows if n.endswith("_neutral") and n.replace("neutral", "smiling") in rows][:people]
    before, after, other = [], [], []
    for name in track(names, f"unseen networks ({preset})"):
        photo = read_photo(rows[name].path.read_bytes())
        outcome = attempt(photo, Request(preset=preset, seed=1), networks, _silent)
        second = read_photo(rows[name.replace("neutral", "smiling")].path.read_bytes())
        before.append((photo, find(photo, networks.detector)[0]))
        after.append((outcome.protected[0], find(outcome.protected[0], networks.detector)[0]))
        other.append((second, find(second, networks.detector)[0]))
    table = []
    for judge, cuts in teachers.networks():
        a, b, c = (_embed(judge, photos) for photos in (before, after, other))
        plain, protected = (a * c).sum(1), (b * c).sum(1)
        cells = []
        for far in FARS:
            matched = plain >= cuts[far]
            kept = float((protected[matched] >= cuts[far]).float().mean())
            cells += [f"{float(matched.float().mean()):.0%}", f"{kept:.0%}"]
        table.append([judge.name, judge.role, str(len(names)), *cells])
    return table


def structure_reference() -> dict[str, str]:
    """Structure shared inside the face by two photos, brought to the same landmarks and light (london_set)."""
    rows = {r.path.stem: r for r in portraits.read(("london_set",))}
    names = sorted(n for n in rows if n.endswith("_neutral") and n.replace("neutral", "smiling") in rows)
    same, different = [], []
    for i, name in enumerate(names):
        same.append(_shared(rows[name], rows[name.replace("neutral", "smiling")]))
        different.append(_shared(rows[name], rows[names[(i + 7) % len(names)]]))
    return {
        label: ", ".join(f"{q} %: {np.percentile(values, q):.2f}" for q in (5, 50, 95))
        for label, values in (("one person, neutral and smiling", same), ("two people, both neutral", different))
    }


def _shared(row: Portrait, other: Portrait) -> float:
    marks = row.landmarks.astype(np.float32)
    source = np.asarray(row.pixels() / 255, np.float32)
    nobody = Traits(0.0, (0.0, 0.0, 0.0), 0.0, 0.0, 0.0, 0.0, 0.0)
    composed = compose(source, marks, Persona("", other.pixels(), other.landmarks.astype(np.float32), nobody))
    a, b = (torch.from_numpy(x).permute(2, 0, 1)[None] for x in (composed, source))
    return float(objectives.structure(a, b, torch.from_numpy(face_mask(marks))[None, None]))


def _embed(judge: Any, photos: list[tuple[Photo, torch.Tensor]]) -> torch.Tensor:
    images = torch.from_numpy(np.stack([p.pixels for p, _ in photos])).permute(0, 3, 1, 2).float() / 255
    embedded: torch.Tensor = judge.embed(images, torch.stack([marks for _, marks in photos]))
    return embedded


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
    parser.add_argument("--people", type=int, default=60, help="of london_set, for the unseen networks")
    args = parser.parse_args()
    networks = Networks.load()
    rows = choose(args.photos)
    with torch.no_grad():
        reference = structure_reference()
    parts = []
    for preset in ("natural", "standard", "strong"):
        done = protect_all(rows, preset, networks)
        parts.append(f"### {args.photos} photos, preset `{preset}`\n\n" + report.bullets(summary(done)))
        if preset == "standard":
            draw_sheet(done)
            parts.append(
                "### Networks the engine never saw, another photo of the person, preset `standard`\n\n"
                "TAR before protection, and after it among those that matched before.\n\n"
                + report.table(
                    ["network", "role", "people", "before, FAR 1e-2", "after", "before, FAR 1e-3", "after"],
                    unseen(networks, preset, args.people),
                )
            )
    parts.append("### What two photos share in structure\n\n" + report.bullets(reference))
    report.put("engine", "Engine: `make bench`", parts)


def _silent(_: str, __: float) -> None:
    return None


if __name__ == "__main__":
    main()
