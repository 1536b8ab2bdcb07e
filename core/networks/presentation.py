"""Gender presentation of a face, a coarse trait that personas are chosen by: linear on one encoder's output."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from core.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Presentation:
    """score = clamp(weight . embedding + bias): -1 feminine .. +1 masculine, for `encoder`'s unit vectors."""

    encoder: str
    weight: Float[Tensor, " d"]
    bias: float

    def score(self, embeddings: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
        return (embeddings @ self.weight + self.bias).clamp(-1, 1)

    @classmethod
    def load(cls, path: Path, device: torch.device) -> Presentation:
        """Read {encoder, weight, bias}.

        Raises:
            ConfigurationError: missing or broken.
        """
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            return cls(facts["encoder"], torch.tensor(facts["weight"]).to(device), float(facts["bias"]))
        except (OSError, ValueError, KeyError) as error:
            raise ConfigurationError(f"{path} cannot be read: {error}") from error
