"""Is the promise of `sider` true for strangers? `make bench-privacy`, or `python -m benchmarks.privacy --pairs 262`

Protects photo `a` of each development pair (never trained on) and asks every network, above all the judges that nothing
was optimised against, whether it still matches photo `b` of the same person; also after JPEG, shrinking and
blurring. What people see is judged without recognition networks. Pictures and rows lie in .work/privacy and are
kept: a further run goes on. Look at .work/privacy/<run>/index.html.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import time
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.progress import track
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from benchmarks import faceres, look, report
from benchmarks.protected import digest
from benchmarks.strangers import DEGRADED, FARS, Pairs, Pixels, Recogniser, landmarks, recognisers, to_photo
from core import methods, objectives
from core.errors import NoFaceFound
from core.licence import LicenceClass
from core.methods.sider import PRESETS, Config
from core.networks import Networks
from core.networks import bundle as bundles
from core.networks.bundle import MANIFEST, PACKAGED
from core.pipeline import Clock, make
from core.stages.align import AlignedFaces, align, paste
from core.stages.regions import face_mask, region_weights
from training import facenet

FOLDER = Path(".work/privacy")
SHOWN = ("source", "start", "protected")
DIVERSE, VARIANTS = 6, 3  # photos, and variants of each, to see how much variants differ


@dataclass(frozen=True, slots=True)
class Run:
    """One configuration of the method on some networks. manifest: of their bundle, which has all its weights' sums."""

    name: str
    config: Config
    networks: Networks
    manifest: Path = PACKAGED / MANIFEST

    @property
    def folder(self) -> Path:
        """Of this state of the engine alone."""
        return FOLDER / f"{self.name.replace(' ', '-')}-{digest(self.config, self.networks, self.manifest)}"


def protect_all(run: Run, data: Pairs) -> list[dict[str, Any] | None]:
    """Pictures into the run's folder and one row a pair; None where no face was found."""
    run.folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, image in track(list(zip(data.numbers, data.a, strict=True)), run.name):
        path = run.folder / f"{number:03d}.json"
        if not path.is_file():
            path.write_text(json.dumps(_protect(run, image, number)), encoding="utf-8")
        rows.append(json.loads(path.read_text(encoding="utf-8")))
    return rows


def _faces(run: Run, image: Tensor) -> AlignedFaces | None:
    try:
        return align(to_photo(image), run.networks.detector, run.networks.device, "largest")
    except NoFaceFound:
        return None


def _protect(run: Run, image: Tensor, number: int) -> dict[str, Any] | None:
    began = time.perf_counter()
    faces = _faces(run, image)
    if faces is None:
        return None
    made = make(faces, methods.load("sider"), run.config, number, run.networks, Clock(lambda *_: None))
    seconds = time.perf_counter() - began
    start = paste(faces, made.protected.starts[0].images)
    for name, picture in (("source", faces.photo), ("start", start), ("protected", made.photos[0])):
        Image.fromarray(picture.pixels).save(run.folder / f"{number:03d}.{name}.png")
    (face,) = made.measured[0]
    return face | {"number": number, "seconds": seconds, "steps": made.protected.steps}


def picture(run: Run, row: dict[str, Any], name: str) -> Pixels:
    """One of SHOWN."""
    return np.asarray(Image.open(run.folder / f"{row['number']:03d}.{name}.png"))


def protected(run: Run, rows: list[Any]) -> tuple[list[Pixels | None], list[Tensor | None]]:
    """The protected pictures of rows, and their landmarks; None where there is none."""
    images = [picture(run, row, "protected") if row else None for row in rows]
    return images, [landmarks(run.networks.detector, image) for image in images]


def recognition(run: Run, rows: list[Any], nets: list[Recogniser]) -> list[list[str]]:
    """Clean true-accept rate and success by network at both FARs."""
    images, marks = protected(run, rows)
    table = []
    for net in nets:
        cells = []
        for far in FARS:
            clean = float((net.before >= net.cuts[far]).float().mean())
            cells += [f"{clean:.1%}", f"{net.success(images, marks, far):.1%}"]
        table.append([net.name, net.role, *cells])
    return table


def robustness(run: Run, rows: list[Any], nets: list[Recogniser]) -> list[list[str]]:
    """Success of the judges at both FARs after what strangers do to pictures."""
    judges = [n for n in nets if n.role == "judge"]
    table = []
    for name, degrade in DEGRADED.items():
        images = [np.asarray(degrade(Image.fromarray(picture(run, row, "protected")))) if row else None for row in rows]
        marks = [landmarks(run.networks.detector, image) for image in images]
        found = sum(m is not None for m in marks)
        cells = [f"{judge.success(images, marks, far):.1%}" for judge in judges for far in FARS]
        table.append([name, f"{found} of {len(rows)}", *cells])
    return table


def fidelity(run: Run, rows: list[Any], data: Pairs) -> dict[str, str]:
    """How much of the persona's look the optimiser left."""
    scores = []
    for i, row in ((i, row) for i, row in enumerate(rows) if row):
        start, protected = picture(run, row, "start"), picture(run, row, "protected")
        inside = face_mask(data.marks_a[i].numpy()) > 0.5
        error = float(np.mean((protected[inside].astype(float) - start[inside]) ** 2))
        similar = float(structural_similarity(start, protected, channel_axis=-1))
        scores.append((peak_signal_noise_ratio(start, protected), 10 * np.log10(255**2 / max(error, 1e-9)), similar))
    psnr, inside_psnr, ssim = np.mean(scores, 0)
    return {
        "PSNR to the persona composite, mean": f"{psnr:.1f} dB (inside the face {inside_psnr:.1f} dB)",
        "SSIM to the persona composite, mean": f"{ssim:.3f}",
    }


def line_ups(run: Run, rows: list[Any], data: Pairs) -> list[list[str]]:
    """By region: is the persona nearer than the source, and does the look pick the person out of a line-up, from
    each of SHOWN?

    The line-up are photos `b`, worn in the geometry and light of the photo in question. Personas that fit are nearer to
    the person than to most others: they are of the same sex and age.
    """
    found: dict[str, list[tuple[bool, ...]]] = {region: [] for region in (*look.REGIONS, "face")}
    for i, row in track([(i, row) for i, row in enumerate(rows) if row], "look"):
        seen = {n: look.Look.of(np.asarray(picture(run, row, n) / 255, np.float32)) for n in SHOWN}
        line = look.line_up(data, i)
        to_source, to_persona = (seen["protected"].distances(seen[n]) for n in ("source", "start"))
        picked = [look.picked(seen[n], line) for n in SHOWN]
        for region, picks in found.items():
            picks.append((to_persona[region] < to_source[region], *(p[region] for p in picked)))
    return [[region, *(f"{share:.0%}" for share in np.mean(picks, 0))] for region, picks in found.items()]


def diversity(run: Run, data: Pairs) -> dict[str, str]:
    """How much the variants of a photo differ from one another, 1 - likeness."""
    apart, every = [], dataclasses.replace(run.config, variants=VARIANTS)
    for i in track(range(0, len(data), max(1, len(data) // DIVERSE)), "variants"):
        faces = _faces(run, data.a[i])
        if faces is None:
            continue
        made = make(faces, methods.load("sider"), every, data.numbers[i], run.networks, Clock(lambda *_: None))
        features = region_weights(faces.landmarks)
        apart += [1 - float(objectives.likeness(a, b, features)) for a, b in combinations(made.protected.images, 2)]
    found = f"{np.mean(apart):.3f}, {min(apart):.3f}"
    return {f"distance between two of {VARIANTS} variants, mean and least": found}


def facts_of(rows: list[Any]) -> dict[str, str]:
    good = [row for row in rows if row]
    seconds = [row["seconds"] for row in good]
    return {
        "faces found": f"{len(good)} of {len(rows)}",
        "promise held": f"{sum(row['held'] for row in good)} of {len(good)}",
        "distance to source / persona, mean": " / ".join(
            f"{np.mean([row[k] for row in good]):.3f}" for k in ("distance_to_source", "distance_to_persona")
        ),
        "steps, mean": f"{np.mean([row['steps'] for row in good]):.0f}",
        "seconds a face, median and slowest": f"{np.median(seconds):.1f}, {max(seconds):.1f}",
    }


def write_sheet(run: Run, rows: list[Any]) -> Path:
    """Source, persona, protected."""
    numbers = {f"{row['number']:03d}": row["persona"] for row in rows if row}
    faces = [(f"{number} {persona}", [f"{number}.{n}.png" for n in SHOWN]) for number, persona in numbers.items()]
    return report.write_sheet(run.folder, ", ".join(SHOWN), faces)


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.privacy", description=__doc__)
    parser.add_argument("--pairs", type=int, default=64, help="of 262, evenly over them")
    parser.add_argument("--preset", default="standard", choices=list(PRESETS))
    parser.add_argument("--bundle", help="a folder; the packaged one if not given")
    parser.add_argument("--licence-class", type=LicenceClass, default=LicenceClass.research, help="of the weights")
    args = parser.parse_args()
    networks, data = Networks.load(args.bundle, licence_class=args.licence_class), Pairs.read(args.pairs)
    nets = recognisers(networks, data)
    name = args.preset if networks.bundle == "mini" else f"{args.preset}-{networks.bundle}"
    run = Run(name, PRESETS[args.preset], networks, bundles.locate(args.bundle) / MANIFEST)
    rows = protect_all(run, data)
    (run.folder / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    heads = [f"{n.name}, FAR {far:g}" for n in nets if n.role == "judge" for far in FARS]
    columns = ["network", "role", "before, FAR 0.01", "after", "before, FAR 0.001", "after"]
    which = f"{len(data)} pairs, preset `{args.preset}`, bundle `{networks.bundle}`"
    named = "".join(f"{v}=... " for v in (facenet.VARIABLE, faceres.VARIABLE) if v in os.environ)
    crowd = look.people(data)
    report.put(
        f"privacy-{name}-{args.pairs}",
        f"Strangers' networks, {which}: `{named}{report.command(parser, args)}`",
        [
            report.bullets(facts_of(rows) | fidelity(run, rows, data) | diversity(run, data)),
            "True-accept rate before protection, and after it among those that matched before.\n\n"
            + report.table(columns, recognition(run, rows, nets)),
            "The judges after what strangers do to pictures:\n\n"
            + report.table(["picture", "faces found", *heads], robustness(run, rows, nets)),
            "Look, without recognition networks: share of protected faces nearer to their persona than to their "
            f"source, and how often the look picks the person from a line-up of {crowd} (chance: {1 / crowd:.0%}): "
            "from the original, from the persona as it was put on, and from the protected photo.\n\n"
            + report.table(["region", "persona nearer", "original", "persona", "protected"], line_ups(run, rows, data)),
        ],
        networks.device,
    )
    print(f"look at {write_sheet(run, rows)}")


if __name__ == "__main__":
    main()
