"""Try other settings of a method that hides, side by side: `python -m benchmarks.trials cloak fitting=8,pull=.5`

The preset as it is and each of the settings, on both photos of a few development pairs. Prints a table, which goes
nowhere, and draws .work/trials/<method>.png: a row a photo, with the source first. For whoever looks for better values:
figures of so few photos choose between settings, they do not say how good one is.
"""

from __future__ import annotations

import argparse
import ast
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.attacks import across
from benchmarks.hiding import FIDELITY, Result, by_method, fidelity, hidden, run
from benchmarks.protected import LINKED
from benchmarks.strangers import FARS, Pairs, Recogniser, recognisers
from core import methods
from core.networks import Networks

FOLDER = Path(".work/trials")


def changed(config: Any, words: str) -> Any:
    """A configuration with some values replaced: "fitting=32,turning.aim=.5"."""
    for word in words.split(",") if words else ():
        path, value = word.split("=")
        config = _replaced(config, path.split("."), ast.literal_eval(value))
    return config


def _replaced(config: Any, path: list[str], value: Any) -> Any:
    name, *rest = path
    return replace(config, **{name: _replaced(getattr(config, name), rest, value) if rest else value})


def column(name: str, a: Result, b: Result, data: Pairs, nets: list[Recogniser], networks: Networks) -> list[str]:
    """Hidden and linked by network at both FARs, fidelity, promise and time."""
    cells = hidden(a.images, nets, networks)
    for net, cosines in zip(nets, across(a.images, b.images, nets, networks), strict=True):
        cells += [f"{(cosines.diagonal() >= net.cuts[far]).float().mean():.0%}" for far in FARS]
    held = a.held + b.held
    promise, seconds = f"{sum(held)} of {len(held)}", f"{(a.seconds + b.seconds) / 2:.1f}"
    return [name, *cells, *fidelity(a, data, networks), promise, seconds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("method", choices=[n for n in methods.names() if not methods.load(n).PROMISE.machines_match])
    parser.add_argument("settings", nargs="*", help="each a list name=value,name=value")
    parser.add_argument("--pairs", type=int, default=12, help="of 262, evenly over them")
    parser.add_argument("--preset", default="standard")
    args = parser.parse_args()
    preset = methods.load(args.method).PRESETS[args.preset]
    configs = {words or args.preset: changed(preset, words) for words in ("", *args.settings)}
    networks, data = Networks.load(device="cpu"), Pairs.read(args.pairs)
    nets = [net for net in recognisers(networks, data) if net.role in ("referee", "judge")]
    other = Pairs([n + LINKED for n in data.numbers], data.b, data.a, data.marks_b, data.marks_a)
    heads = [f"{what}, {net.name}, FAR {far:g}" for what in ("hidden", "linked") for net in nets for far in FARS]
    columns = [["", *heads, *FIDELITY, "promise held", "s a face"]]
    sheet = [[image.permute(1, 2, 0).numpy() for image in data.a]]
    for words, config in configs.items():
        a, b = (run(words, by_method(args.method, config, networks), some, networks) for some in (data, other))
        columns.append(column(words, a, b, data, nets, networks))
        sheet.append([np.zeros((256, 256, 3), np.uint8) if i is None else i for i in a.images])
    head, *rows = zip(*columns, strict=True)
    table = Table(*head)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{args.method}.png"
    Image.fromarray(np.vstack([np.hstack(images) for images in zip(*sheet, strict=True)])).save(path)
    print(f"look at {path}")


if __name__ == "__main__":
    main()
