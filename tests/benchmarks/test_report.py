"""What sections of RESULTS.md say of how they were made."""

from __future__ import annotations

import argparse

import pytest

from benchmarks import report


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--pairs", "50", "200"],
        ["--protect", "--licence-class", "clean"],
        ["--methods", "cloak", "--preset", "strong"],
    ],
)
def test_the_command_is_the_one_that_was_given(words: list[str]) -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.attacks")
    parser.add_argument("--pairs", type=int, nargs="*", default=[50])
    parser.add_argument("--protect", action="store_true")
    parser.add_argument("--licence-class", default="research")
    parser.add_argument("--methods", nargs="+")
    parser.add_argument("--preset", default="standard")
    said = report.command(parser, parser.parse_args(words))
    assert parser.parse_args(said.removeprefix(parser.prog).split()) == parser.parse_args(words)
    assert len(said.split()) == 3 + len(words)
