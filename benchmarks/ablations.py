"""What do the parts of `sider` contribute? `python -m benchmarks.ablations`

Some development pairs, protected and judged as by `benchmarks.privacy`, each time without one part.
"""

from __future__ import annotations

import argparse
import dataclasses
from copy import copy

import numpy as np
from numpy.typing import NDArray

from benchmarks import report
from benchmarks.privacy import Run, protect_all, protected
from benchmarks.strangers import FARS, Pairs, recognisers
from core.methods.sider import PRESETS
from core.networks import Networks
from core.stages.optimise import Jitter


def ablations(networks: Networks) -> list[Run]:
    """The standard preset, each time without one part."""
    standard = PRESETS["standard"]

    def only(prefix: str) -> Networks:
        kept = [e for e in networks.encoders if e.name.startswith(prefix)]
        if networks.apparent.encoder not in (e.name for e in kept):  # personas are chosen by what it reads
            reader = next(copy(e) for e in networks.encoders if e.name == networks.apparent.encoder)
            reader.role = "reader"
            kept.append(reader)
        return dataclasses.replace(networks, encoders=tuple(kept))

    plain, replace = Jitter(shift=0, scale=0, angle=0, light=0, blur=0), dataclasses.replace
    runs = [
        Run("standard", standard, networks),
        Run("no draws", replace(standard, jitter=plain), networks),
        Run("all encoders a step", replace(standard, asked=len(networks.surrogates)), networks),
        Run("equal weights", replace(standard, tau=1e6), networks),
        Run("any persona that fits", replace(standard, candidates=1), networks),
        Run("changes as fine as they come", replace(standard, softness=0.0), networks),
        Run("texture and colour free", replace(standard, texture=0.0, colour=1.0), networks),
        Run("no momentum", replace(standard, descent=replace(standard.descent, momentum=0.0)), networks),
        Run("dlib alone", standard, only("dlib")),
        Run("students alone", standard, only("student")),
    ]
    return [run for run in runs if run.networks.surrogates]


def difference(cosines: NDArray[np.floating]) -> str:
    """The mean of what pairs differ by, with its standard error; nothing of the preset that others are held against."""
    if not cosines.any():
        return ""
    return f"{cosines.mean():+.3f} ± {cosines.std(ddof=1) / len(cosines) ** 0.5:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.ablations", description=__doc__)
    parser.add_argument("--pairs", type=int, default=16, help="of 262, evenly over them")
    args = parser.parse_args()
    networks, data = Networks.load(), Pairs.read(args.pairs)
    nets = recognisers(networks, data)
    judges = [net for net in nets if net.role == "judge"]
    strangers = [net for net in nets if net.role not in ("surrogate", "referee")]
    table, standard = [], np.empty(0)
    for run in ablations(networks):
        rows = protect_all(run, data)
        images, marks = protected(run, rows)
        cosines = np.mean([net.after(images, marks).numpy() for net in strangers], 0)
        standard = standard if len(standard) else cosines
        good = [row for row in rows if row]
        table.append(
            [
                run.name,
                f"{sum(row['held'] for row in good)} of {len(data)}",
                *(f"{judge.success(images, marks, far):.1%}" for judge in judges for far in FARS),
                f"{cosines.mean():.3f}",
                difference(cosines - standard),
                f"{np.mean([row['distance_to_persona'] for row in good]):.3f}",
                f"{np.mean([row['steps'] for row in good]):.0f}",
                f"{np.median([row['seconds'] for row in good]):.1f}",
            ]
        )
    names = ", ".join(net.name for net in strangers)
    text = (
        f"Strangers: {names}. Their mean cosine to the person's other photo, and how far it is from that of the "
        "first line, with its standard error over the pairs."
    )
    heads = [f"{judge.name}, FAR {far:g}" for judge in judges for far in FARS]
    head = ["", "promise held", *heads, "strangers", "difference", "distance to persona", "steps", "seconds a face"]
    title = f"What the parts contribute, {len(data)} pairs: `{report.command(parser, args)}`"
    report.put("ablations", title, [text, report.table(head, table)], networks.device)


if __name__ == "__main__":
    main()
