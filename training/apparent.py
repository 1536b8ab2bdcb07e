"""Learn what people would take a face for, gender presentation and age: `python -m training.apparent`

Ridge regressions of what is known of the people in clean portraits on dlib's identity vectors; writes
bundle/apparent.json. The gender of members of Congress is in their sources' table. ages/congress.csv has the years in
which they were born and first elected (unitedstates/congress-legislators, CC0), ages/london.csv the ages of the London
set (Lisa DeBruine and Benedict Jones, CC-BY 4.0).
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from core.networks.apparent import FILE
from core.networks.bundle import PACKAGED
from training import pairs, portraits
from training.guard import dlib_encoder
from training.portraits import Portrait

AGES = Path(__file__).parent / "ages"
# Nothing says when a portrait of Congress was taken: at the year of its collection, or after a first election if later.
COLLECTED = {"us_house": 2016, "us_senate": 2016, "reform_congress": 2010}
DECADES = 20, 79  # the first and the last one that counts by itself
RIDGE, FOLDS = 0.5, 5
Numbers = NDArray[np.float64]


def genders(rows: list[Portrait]) -> Numbers:
    """-1 female, +1 male; NaN where the table says nothing."""
    return np.array([{"female": -1.0, "male": 1.0}.get(row.gender, np.nan) for row in rows])


def ages(rows: list[Portrait]) -> Numbers:
    """Years; NaN where they are not known."""
    congress, london = (_table(name) for name in ("congress", "london"))

    def age(row: Portrait) -> float:
        if row.source == "london_set":
            return float(london.get(row.path.stem.partition("_")[0], {"age": "nan"})["age"])
        if row.identity not in congress:
            return np.nan
        facts = congress[row.identity]
        return max(COLLECTED[row.source], int(facts["elected"])) - int(facts["born"])

    return np.array([age(row) for row in rows])


def _table(name: str) -> dict[str, dict[str, str]]:
    with (AGES / f"{name}.csv").open(newline="", encoding="utf-8") as table:
        return {row["person"]: row for row in csv.DictReader(table)}


def fit(vectors: Numbers, known: Numbers, groups: Numbers) -> Numbers:
    """Weights and bias by which vectors (n, d) tell what is known (n,); each group counts as much as any other."""
    A = np.c_[vectors, np.ones(len(vectors))]
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    W = A / sizes[group][:, None] * len(A) / len(sizes)
    ridge = RIDGE * np.eye(A.shape[1])
    return np.asarray(np.linalg.solve(A.T @ W + ridge, W.T @ known))


def learned(vectors: Numbers, known: Numbers, groups: Numbers, people: list[str]) -> dict[str, Any]:
    """Weight and bias, and what lines that had not seen a person told of it (n,)."""
    _, person = np.unique(people, return_inverse=True)
    fold = np.random.default_rng(0).permutation(person.max() + 1)[person] % FOLDS
    told = np.empty_like(known)
    for k in range(FOLDS):
        line = fit(vectors[fold != k], known[fold != k], groups[fold != k])
        told[fold == k] = vectors[fold == k] @ line[:-1] + line[-1]
    line = fit(vectors, known, groups)
    weight = [round(v, 6) for v in line[:-1].tolist()]
    return {"weight": weight, "bias": round(float(line[-1]), 6), "held_out": told}


def side(presentation: Numbers) -> Numbers:
    return np.asarray(np.sign(presentation))


def decade(years: Numbers) -> Numbers:
    return np.asarray(years.clip(*DECADES) // 10)


def wrong_side(told: Numbers, true: Numbers) -> float:
    """Share of faces."""
    return float((side(told) != true).mean())


def years_off(told: Numbers, true: Numbers) -> float:
    return float(np.abs(told - true).mean())


# What is known of portraits, the groups of it that count the same, and what is an error.
QUESTIONS = {"presentation": (genders, side, wrong_side), "age": (ages, decade, years_off)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=PACKAGED)
    args = parser.parse_args()
    encoder, rows = dlib_encoder(args.out), portraits.read()
    images = torch.from_numpy(np.stack([r.pixels() for r in rows])).permute(0, 3, 1, 2)
    marks = torch.tensor(np.stack([r.landmarks for r in rows]), dtype=torch.float32)
    vectors = pairs.embed(encoder, images, marks).double().numpy()
    facts: dict[str, object] = {"encoder": encoder.name}
    for name, (known_of, group_of, error) in QUESTIONS.items():
        known = known_of(rows)
        there = ~np.isnan(known)
        people = [row.identity for row, used in zip(rows, there, strict=True) if used]
        line = learned(vectors[there], known[there], group_of(known[there]), people)
        off = error(line.pop("held_out"), known[there])
        facts[name] = line | {"held_out_error": round(off, 4)}
        print(f"{name}: {there.sum()} portraits, held-out error {off:.4f}", flush=True)
    (args.out / FILE).write_text(json.dumps(facts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
