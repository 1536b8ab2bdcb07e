"""What the engine does to real photos: `make bench`, or `python -m benchmarks.engine --photos 40`.

Protects photos of ../shared/data/portraits (us_house and london_set), restores each, and reports the share of promises
kept and the time. Strangers' networks are asked in benchmarks/privacy.py. Writes its section of RESULTS.md and, to
look at, a contact sheet into .work/ (never committed: it shows real people).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.progress import track

from benchmarks import look, report
from core import objectives
from core.networks import Detector, Networks
from core.pipeline import Outcome, Request, attempt
from core.stages.regions import face_mask
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


def structure_reference(detector: Detector) -> dict[str, str]:
    """Structure shared inside the face by two photos, brought to the same landmarks and light (london_set)."""
    rows = {r.path.stem: _refined(r, detector) for r in portraits.read(("london_set",))}
    names = sorted(n for n in rows if n.endswith("_neutral") and n.replace("neutral", "smiling") in rows)
    same, different = [], []
    for i, name in enumerate(names):
        same.append(_shared(rows[name], rows[name.replace("neutral", "smiling")]))
        different.append(_shared(rows[name], rows[names[(i + 7) % len(names)]]))
    return {
        label: ", ".join(f"{q} %: {np.percentile(values, q):.2f}" for q in (5, 50, 95))
        for label, values in (("one person, neutral and smiling", same), ("two people, both neutral", different))
    }


def _refined(row: Portrait, detector: Detector) -> Portrait:
    image = torch.from_numpy(row.pixels().copy()).permute(2, 0, 1)[None] / 255
    marks = detector.refine(image, torch.tensor(row.landmarks, dtype=torch.float32)[None])
    return replace(row, landmarks=marks[0].numpy().astype(np.float64))


def _shared(row: Portrait, other: Portrait) -> float:
    marks = row.landmarks.astype(np.float32)
    source = np.asarray(row.pixels() / 255, np.float32)
    composed = look.worn_by(source, marks, other.pixels(), other.landmarks.astype(np.float32))
    a, b = (torch.from_numpy(x).permute(2, 0, 1)[None] for x in (composed, source))
    return float(objectives.structure(a, b, torch.from_numpy(face_mask(marks))[None, None]))


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
        reference = structure_reference(networks.detector)
    parts = []
    for preset in ("natural", "standard", "strong"):
        done = protect_all(rows, preset, networks)
        parts.append(f"### {args.photos} photos, preset `{preset}`\n\n" + report.bullets(summary(done)))
        if preset == "standard":
            draw_sheet(done)
    parts.append("### What two photos share in structure\n\n" + report.bullets(reference))
    report.put("engine", "Engine: `make bench`", parts)


def _silent(_: str, __: float) -> None:
    return None


if __name__ == "__main__":
    main()
