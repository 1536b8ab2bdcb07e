"""What the command line says of photos, above all of those that miss their promise: what is lacking, and what to do."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from core.errors import PromiseNotMet
from sider.lines import REMEDY, error_line, outcome_of, report, summary


def encoder(cosine: float, again: float | None, held: bool) -> dict[str, Any]:
    known = {"threshold_far_1e-3": 0.42, "threshold_far_1e-2": 0.31}
    return {"cosine": cosine, "cosine_found_again": again, "required": 0.6, "held": held} | known


def face(distance: float = 0.5, encoders: dict[str, Any] | None = None) -> dict[str, Any]:
    encoders = encoders or {"dlib": encoder(0.9, 0.9, held=True)}
    looks = {"distance_to_source": distance, "distance_required": 0.32, "distance_held": distance >= 0.32}
    held = looks["distance_held"] and all(e["held"] for e in encoders.values())
    return {"box": [10, 20, 64, 80], "encoders": encoders, "held": held} | looks


def line(*variants: list[dict[str, Any]], machines_match: bool = True) -> dict[str, Any]:
    promise = {"people_recognise": False, "machines_match": machines_match}
    held = all(f["held"] for variant in variants for f in variant)
    names = [f"out/a.v{n}.png" for n, _ in enumerate(variants, 1)]
    return {
        "file": "a.png", "held": held, "protected": names, "report": {"promise": promise, "variants": list(variants)},
    }  # fmt: skip


def said(of: dict[str, Any]) -> list[str]:
    console = Console(record=True, width=400, file=io.StringIO())
    report(console, False, of)
    return [text.strip() for text in console.export_text().splitlines()]


def refused(of: dict[str, Any]) -> dict[str, Any]:
    return {"file": "a.png"} | error_line(PromiseNotMet("no picture was written", details={"report": of["report"]}))


def test_a_photo_that_holds_is_told_in_one_line_a_variant() -> None:
    first, second = said(line([face()], [face(0.4)]))
    assert first == "protected out/a.v1.png: looks 0.500 apart (at least 0.320), dlib 0.900 (at least 0.600)"
    assert second.startswith("protected out/a.v2.png: looks 0.400")


@pytest.mark.parametrize(
    ("lacking", "machines_match", "words"),
    [
        (face(0.2), True, "looks 0.200 apart (at least 0.320)"),
        (face(encoders={"dlib": encoder(0.5, 0.9, held=False)}), True, "dlib reads 0.500 (at least 0.600)"),
        (face(encoders={"dlib": encoder(0.7, None, held=False)}), True, "dlib does not find the face again"),
        (
            face(encoders={"dlib": encoder(0.7, 0.4, held=False)}),
            True,
            "dlib reads 0.400 where the face is found again (at least 0.420)",
        ),
        (face(encoders={"dlib": encoder(0.7, 0.2, held=False)}), False, "dlib reads 0.700 (at most 0.600)"),
        (
            face(encoders={"dlib": encoder(0.3, 0.4, held=False)}),
            False,
            "dlib reads 0.400 where the face is found again (at most 0.310)",
        ),
    ],
)
def test_of_a_missed_promise_only_the_face_that_lacks_something_is_told_and_what_helps(
    lacking: dict[str, Any], machines_match: bool, words: str
) -> None:
    first, what, remedy = said(refused(line([face(), lacking], machines_match=machines_match)))
    assert first == "promise_not_met a.png: no picture was written"
    assert what == f"missed face of 64 x 80 px at (10, 20), variant 1: {words}"
    assert remedy == f"missed {REMEDY}"


def test_a_picture_that_is_kept_though_it_missed_is_not_called_protected() -> None:
    missed = line([face()], [face(0.2)])
    words = [text.split(" ")[0] for text in said(missed)]
    assert words == ["protected", "missed", "missed", "missed"]
    assert outcome_of(missed) == "missed"
    assert said(missed | {"before": True}) == ["missed before a.png"]
    counted = Console(record=True, width=80, file=io.StringIO())
    counted.print(summary([missed, line([face()])]))
    assert "1      │ missed" in (text := counted.export_text())
    assert "1      │ protected" in text


def test_an_error_of_a_report_that_nobody_gave_is_told_all_the_same() -> None:
    assert said({"file": "a.png"} | error_line(PromiseNotMet("missed"))) == ["promise_not_met a.png: missed"]
