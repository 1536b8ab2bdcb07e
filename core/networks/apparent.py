"""What people would take a face for, by which personas are chosen: linear on one encoder's output."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from core.errors import ConfigurationError

FILE = "apparent.json"
YEARS = 15.0, 85.0  # of the faces that age was learned from


@dataclass(frozen=True, slots=True)
class Line:
    """weight . embedding + bias."""

    weight: Float[Tensor, " d"]
    bias: float

    def __call__(self, embeddings: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
        return embeddings @ self.weight + self.bias


@dataclass(frozen=True, slots=True)
class Apparent:
    """Gender presentation, -1 feminine .. +1 masculine, and age in years, of `encoder`'s unit vectors."""

    encoder: str
    presentation: Line
    age: Line

    def read(self, embeddings: Float[Tensor, "b d"]) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        """Presentation and age."""
        return self.presentation(embeddings).clamp(-1, 1), self.age(embeddings).clamp(*YEARS)

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> Apparent:
        """Read FILE of a bundle: {encoder, presentation: {weight, bias}, age: {weight, bias}}.

        Raises:
            ConfigurationError: missing or broken.
        """
        path = folder / FILE
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            lines = (facts[name] for name in ("presentation", "age"))
            weights = ((torch.tensor(line["weight"], dtype=torch.float32), float(line["bias"])) for line in lines)
            return cls(facts["encoder"], *(Line(weight.to(device), bias) for weight, bias in weights))
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise ConfigurationError(f"{path} cannot be read, make it by training.apparent: {error!r}") from error
