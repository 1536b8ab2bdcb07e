"""What is said of a photo: a JSON line for programs, or lines for people."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from core.errors import SiderError

REMEDY = "another --seed or --preset may do, or a photo in which the face is larger or better lit"


def error_line(error: SiderError | OSError) -> dict[str, Any]:
    """What a result line says of an error; the details of a missed promise are its report."""
    code = error.code if isinstance(error, SiderError) else "file_unreadable"
    line: dict[str, Any] = {"error": {"code": code, "message": str(error)}}
    if code == "promise_not_met" and isinstance(error, SiderError):
        line["report"] = error.details.get("report", {})
    return line


def report(console: Console, as_json: bool, line: dict[str, Any]) -> None:
    """One JSON line on standard output, or some for people."""
    if as_json:
        print(json.dumps(line), flush=True)  # noqa: T201
    elif "error" in line:
        tell(console, "red", line["error"]["code"], f"{line['file']}: {line['error']['message']}")
        for text in _shortfalls(line.get("report", {})):
            tell(console, "red", "  missed", text)
    elif line.get("before"):
        style, word = ("green", "done before") if line.get("held", True) else ("red", "missed before")
        tell(console, style, word, line["file"])
    elif "erased" in line:
        tell(console, "green", "erased", line["erased"])
    elif "restored" in line:
        tell(console, "green", "restored", f"{line['restored']} (bit for bit)")
    else:
        promise = line["report"]["promise"]
        for variant, name in zip(line["report"]["variants"], line["protected"], strict=True):
            faces = "; ".join(_measured(face, **promise) for face in variant)
            style, word = ("green", "protected") if all(face["held"] for face in variant) else ("red", "missed")
            tell(console, style, word, f"{name}: {faces}")
        for text in _shortfalls(line["report"]):
            tell(console, "red", "  missed", text)


def summary(lines: list[dict[str, Any]]) -> Table:
    """How many photos came out how."""
    table = Table("photos", "", title="summary")
    for outcome, count in sorted(Counter(map(outcome_of, lines)).items()):
        table.add_row(str(count), outcome)
    table.add_row(str(len(lines)), "in all")
    return table


def outcome_of(line: dict[str, Any]) -> str:
    """In a word: how a photo came out."""
    if "error" in line:
        return str(line["error"]["code"])
    if not line.get("held", True):
        return "missed"
    return "done before" if line.get("before") else "protected"


def _measured(face: dict[str, Any], people_recognise: bool, machines_match: bool) -> str:
    """What was measured of a face, and what it must have: how different it looks, and the cosine of each encoder."""
    word = "at least" if machines_match else "at most"
    read = (f"{name} {e['cosine']:.3f} ({word} {e['required']:.3f})" for name, e in face["encoders"].items())
    return f"{_look(face, people_recognise)}, {', '.join(read)}"


def _look(face: dict[str, Any], people_recognise: bool) -> str:
    word = "at most" if people_recognise else "at least"
    return f"looks {face['distance_to_source']:.3f} apart ({word} {face['distance_required']:.3f})"


def _shortfalls(report: dict[str, Any]) -> Iterator[str]:
    """What each face that misses the promise lacks, and what may help; nothing if none does."""
    variants = enumerate(report.get("variants", ()), 1)
    missed = [(v, face) for v, variant in variants for face in variant if not face["held"]]
    for v, face in missed:
        x, y, width, height = face["box"]
        lacks = "; ".join(_lacks(face, **report["promise"]))
        yield f"face of {width} x {height} px at ({x}, {y}), variant {v}: {lacks}"
    if missed:
        yield REMEDY


def _lacks(face: dict[str, Any], people_recognise: bool, machines_match: bool) -> Iterator[str]:
    if not face["distance_held"]:
        yield _look(face, people_recognise)
    for name, read in face["encoders"].items():
        if not read["held"]:
            yield f"{name} {_lack(read, machines_match)}"


def _lack(read: dict[str, Any], machines_match: bool) -> str:
    """Why an encoder does not hold: by what it reads where the face was, or where it is found again."""
    word, far = ("at least", "1e-3") if machines_match else ("at most", "1e-2")
    again, limit = read["cosine_found_again"], read[f"threshold_far_{far}"]
    there = (read["cosine"] > read["required"]) is machines_match
    if there and again is None:
        return "does not find the face again"
    if there and (again < limit) is machines_match:
        return f"reads {again:.3f} where the face is found again ({word} {limit:.3f})"
    return f"reads {read['cosine']:.3f} ({word} {read['required']:.3f})"


def tell(console: Console, style: str, what: str, of: str) -> None:
    """A line for people, its beginning in a colour."""
    # No markup: a file may be called [/b].
    console.print(Text.assemble((what, style), " ", of), soft_wrap=True)
