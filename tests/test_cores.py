"""A container counts the cores that it may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.cores import cores


@pytest.mark.parametrize(
    ("written", "ours"),
    [
        ("50000 100000", 1),
        ("100000 100000", 1),
        (f"{10**9} 100000", os.cpu_count()),
        ("max 100000", os.cpu_count()),
        ("", os.cpu_count()),
    ],
)
def test_no_more_than_the_control_group_allows(tmp_path: Path, written: str, ours: int) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text(written)
    assert cores(quota) == ours
    assert cores(tmp_path / "none") == os.cpu_count()
