"""The networks of ../shared/judges. Training takes the teachers only; benchmarks measure with all."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

from training.portraits import data_folder


def networks(role: str | None = None) -> list[tuple[Any, dict[float, float]]]:
    """All networks, or those of a role ("teacher", "judge"), each with {false-accept rate: cosine}.

    A network has `name`, `role`, `embed(images, landmarks)` and is itself a module of aligned crops.
    """
    judges = _module()
    return [(judges.load(name), judges.thresholds(name)) for name in judges.names(role)]


def _module() -> Any:
    path = data_folder().parent / "judges" / "judges.py"
    spec = importlib.util.spec_from_file_location("judges", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    judges = importlib.util.module_from_spec(spec)
    sys.modules["judges"] = judges  # dataclasses look their module up by name
    spec.loader.exec_module(judges)
    return judges
