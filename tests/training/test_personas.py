"""The making of the bank."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.networks.personas import TABLE, Persona, Traits
from training import personas

TRAITS = Traits(1.0, 30.0, (60.0, 10.0, 10.0), 0.0, 1.0, 1.0, 0.0, 1.0, 0.0)


def made(name: str, *_: object) -> Persona:
    return Persona(name, np.zeros((256, 256, 3), np.uint8), np.zeros((5, 2), np.float32), TRAITS, frozenset({"other"}))


def test_an_interrupted_run_keeps_all_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    for name in ("Guard", "Detector", "candidates"):
        monkeypatch.setattr(personas, name, lambda *_: None)
    monkeypatch.setattr(personas, "draws", lambda *_: iter(()))
    monkeypatch.setattr(personas, "described", made)
    monkeypatch.setattr(personas, "make_one", interrupted)
    kept = [f"{number:03d}" for number in range(99) if number not in personas.RULED_OUT]
    rows = {name: personas.row_of(made(name), ["somebody"]) for name in (kept[0], kept[2])}
    personas.save_table(rows, tmp_path)
    before = (tmp_path / TABLE).read_text()
    with pytest.raises(KeyboardInterrupt):
        personas.make(1, dict(rows), tmp_path)
    assert (tmp_path / TABLE).read_text() == before
