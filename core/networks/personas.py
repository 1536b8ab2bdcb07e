"""The persona bank: synthetic faces that belong to no one, with what a persona is chosen by."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from core.errors import ConfigurationError

TABLE, MIRRORED = "personas.json", "-mirrored"
SIDE = 256  # px of a picture


@dataclass(frozen=True, slots=True)
class Traits:
    """What recomposition must match so that a persona fits into a photo. No part of it is an identity.

    presentation: gender presentation, about -1 (feminine) to +1 (masculine). age: years that the face looks. tone:
    mean CIELAB of the face. yaw: nose tip off the middle of the eyes; smile: mouth width; drop: eyes to mouth; each in
    inter-ocular distances. teeth: share of the middle of the mouth that shows them. texture: energy of fine detail in
    the skin. light: how much lighter the right cheek is than the left, CIELAB.
    """

    presentation: float
    age: float
    tone: tuple[float, float, float]
    yaw: float
    smile: float
    drop: float
    teeth: float
    texture: float
    light: float

    def _hidden(self, other: Traits) -> float:
        """How far a face with traits `other` is turned beyond this one: what it hides would have to be made up."""
        own = self.yaw * math.copysign(1, other.yaw)
        return max(0.0, abs(other.yaw) - max(0.0, own))

    def distance(self, other: Traits) -> float:
        """How badly a persona with traits `other` fits. Each term is about 1 where a misfit shows."""
        return self.unlikeness(other) + self._mismatch(other)

    def unlikeness(self, other: Traits) -> float:
        """How different people are of whom one looks like this and one like `other`, in whatever photo of them."""
        tone = np.subtract(self.tone, other.tone) / (14.0, 10.0, 10.0)
        terms = (self.presentation - other.presentation) / 0.5, (self.age - other.age) / 10.0
        return float(np.square(tone).sum() + np.square(terms).sum())

    def _mismatch(self, other: Traits) -> float:
        """How badly pose, expression, light and detail of `other` fit."""
        rougher, barer = other.texture - self.texture, other.teeth - self.teeth
        terms = (
            (self.yaw - other.yaw) / 0.25,  # what is left is turned
            self._hidden(other) / 0.06,
            (self.smile - other.smile) / 0.06,
            barer / (0.10 if barer > 0 else 0.30),  # teeth on closed lips are a grimace
            (self.drop - other.drop) / 0.12,
            rougher / (0.25 if rougher > 0 else 0.40),  # wrinkles on smooth skin show, smooth skin does not
            (self.light - other.light) / 12.0,
        )
        return float(np.square(terms).sum())


@dataclass(frozen=True, slots=True, eq=False)  # each is equal to itself alone, so that it can be a key
class Persona:
    """`image` uint8 (256, 256, 3) RGB; only the face inside the mask is a persona. `landmarks` (5, 2) px. alike: plain
    names of those that machines take for it."""

    name: str
    image: NDArray[np.uint8]
    landmarks: NDArray[np.float32]
    traits: Traits
    alike: frozenset[str] = frozenset()

    @property
    def plain(self) -> str:
        """Its name, whichever way it is turned."""
        return plain(self.name)

    def mirrored(self) -> Persona:
        """The same persona turned the other way."""
        t = self.traits
        traits = replace(t, yaw=-t.yaw, light=-t.light)
        image, marks = mirror(self.image, self.landmarks)
        return Persona(f"{self.name}{MIRRORED}", image, marks.astype(np.float32), traits, self.alike)


def plain(name: str) -> str:
    """The name of a persona, whichever way it is turned."""
    return name.removesuffix(MIRRORED)


def unlike(personas: Iterable[Persona]) -> list[Persona]:
    """Those of whom machines take none for one before it, whichever way it is turned."""
    found: list[Persona] = []
    taken: set[str] = set()
    for persona in personas:
        if persona.plain not in taken:
            found.append(persona)
            taken |= {*persona.alike, persona.plain}
    return found


def pictures(
    personas: Sequence[Persona], device: torch.device
) -> tuple[Float[Tensor, "n 3 256 256"], Float[Tensor, "n 5 2"]]:
    """Personas as they are, RGB in [0, 1], and their landmarks."""
    images = torch.tensor(np.stack([p.image for p in personas])).permute(0, 3, 1, 2).to(device) / 255
    return images, torch.tensor(np.stack([p.landmarks for p in personas])).to(device)


def mirror(image: NDArray[Any], landmarks: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """An image (H, W, 3) and its landmarks (5, 2) seen in a mirror; the left eye is still the one on the left."""
    flipped = landmarks * (-1, 1) + (image.shape[1] - 1, 0)
    return image[:, ::-1], flipped[[1, 0, 2, 4, 3]]


def load(folder: Path) -> tuple[Persona, ...]:
    """All personas of a bundle's `personas/` folder, each also mirrored.

    Raises:
        ConfigurationError: the folder is missing or broken.
    """
    try:
        rows: list[dict[str, Any]] = json.loads((folder / TABLE).read_text(encoding="utf-8"))
        found = [_read(folder, row) for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"the persona bank in {folder} cannot be read, or lacks what training.personas would add: {error}"
        raise ConfigurationError(message) from error
    return tuple(p for persona in found for p in (persona, persona.mirrored()))


def _read(folder: Path, row: dict[str, Any]) -> Persona:
    with Image.open(folder / f"{row['name']}.webp") as picture:
        image = np.asarray(picture.convert("RGB"))
    landmarks = np.array(row["landmarks"], np.float32)
    if image.shape != (SIDE, SIDE, 3) or landmarks.shape != (5, 2):
        raise ValueError(f"{row['name']} is no picture of {SIDE} px with five landmarks")
    traits = Traits(**{**row["traits"], "tone": tuple(row["traits"]["tone"])})
    return Persona(row["name"], image, landmarks, traits, frozenset(row["alike"]))
