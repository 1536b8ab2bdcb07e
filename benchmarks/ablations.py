"""What do the parts of `sider` contribute? `python -m benchmarks.ablations`

Some development pairs, protected and judged as by `benchmarks.privacy`, each time without one part.
"""

from __future__ import annotations

import argparse
import dataclasses
from copy import copy

import numpy as np

from benchmarks import report
from benchmarks.privacy import Run, protect_all, recognition
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
        Run("texture and colour free", replace(standard, texture=0.0, colour=1.0), networks),
        Run("no momentum", replace(standard, descent=replace(standard.descent, momentum=0.0)), networks),
        Run("dlib alone", standard, only("dlib")),
        Run("students alone", standard, only("student")),
    ]
    return [run for run in runs if run.networks.surrogates]


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.ablations", description=__doc__)
    parser.add_argument("--pairs", type=int, default=16, help="of 262, evenly over them")
    args = parser.parse_args()
    networks, data = Networks.load(), Pairs.read(args.pairs)
    nets = recognisers(networks, data)
    table = []
    for run in ablations(networks):
        rows = protect_all(run, data)
        cells = [row[3::2] for row in recognition(run, rows, nets) if row[1] == "judge"]
        good = [row for row in rows if row]
        table.append(
            [
                run.name,
                *(cell for pair in cells for cell in pair),
                f"{np.mean([row['distance_to_persona'] for row in good]):.3f}",
                f"{np.median([row['seconds'] for row in good]):.1f}",
            ]
        )
    heads = [f"{n.name}, FAR {far:g}" for n in nets if n.role == "judge" for far in FARS]
    head = ["", *heads, "distance to persona", "seconds a face"]
    title = f"What the parts contribute, {len(data)} pairs: `{report.command(parser, args)}`"
    report.put("ablations", title, [report.table(head, table)], networks.device)


if __name__ == "__main__":
    main()
