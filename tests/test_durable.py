"""What the command line calls done is on the disk: power may fail at any moment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sider.files import write_file
from sider.runs import JOURNAL, Journal


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked of the disk, in order."""
    asked: list[str] = []
    replace = Path.replace

    def renamed(self: Path, target: Path) -> Path:
        asked.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", lambda handle: asked.append(f"sync {os.fstat(handle).st_size}"))
    monkeypatch.setattr(Path, "replace", renamed)
    return asked


def test_a_file_has_its_bytes_before_it_has_its_name(tmp_path: Path, steps: list[str]) -> None:
    write_file(tmp_path / "a.key", b"a key")
    assert steps == ["sync 5", "rename"]


def test_an_entry_of_the_journal_is_there_before_what_it_tells_of(tmp_path: Path, steps: list[str]) -> None:
    Journal(tmp_path).note("a.jpg", {"attempt": "1"})
    assert steps == [f"sync {(tmp_path / JOURNAL).stat().st_size}"]
