"""The networks of ../shared/judges. Training takes the teachers only; benchmarks measure with all."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from typing import Any

from torch import Tensor

from training.portraits import data_folder

Embedder = Callable[[Tensor, Tensor], Tensor]


def embedders() -> list[tuple[Embedder, float]]:
    """(images, landmarks) -> unit vectors, and the cosine at FAR 1e-3, of every teacher."""
    judges = _module()
    return [(judges.load(name).embed, judges.thresholds(name)[1e-3]) for name in judges.names("teacher")]


def all_networks() -> list[tuple[Any, dict[float, float]]]:
    """Teachers and judges with their thresholds, for benchmarks, which only measure."""
    judges = _module()
    return [(judges.load(name), judges.thresholds(name)) for name in judges.names()]


def _module() -> Any:
    path = data_folder().parent / "judges" / "judges.py"
    spec = importlib.util.spec_from_file_location("judges", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    judges = importlib.util.module_from_spec(spec)
    sys.modules["judges"] = judges  # dataclasses look their module up by name
    spec.loader.exec_module(judges)
    return judges
