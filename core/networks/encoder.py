"""A face-recognition network together with the crop it was trained on and the thresholds it decides by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from core.networks import warp
from core.networks.personas import Persona, pictures


@dataclass(frozen=True, slots=True)
class Crop:
    """template: where the five landmarks land, px. size: (h, w), px."""

    template: tuple[tuple[float, float], ...]
    size: tuple[int, int]


class Encoder(nn.Module):
    """Images with landmarks -> unit vectors. Differentiable to the pixels.

    name: how reports call it. role: "surrogate" (the optimiser sees it) or "referee" (it never does).
    centre: mean raw embedding over a face set, subtracted before normalising (dlib's is far from zero).
    thresholds: {false-accept rate: cosine} measured through this very crop on impostor pairs.
    """

    template: Tensor
    centre: Tensor

    def __init__(
        self,
        name: str,
        net: nn.Module,
        crop: Crop,
        centre: Tensor,
        thresholds: Mapping[float, float],
        role: str = "surrogate",
    ) -> None:
        super().__init__()
        self.name, self.net, self.crop, self.size, self.role = name, net, crop, crop.size, role
        self.thresholds = dict(thresholds)
        self._personas: dict[Persona, Tensor] = {}
        self.register_buffer("template", torch.tensor(crop.template))
        self.register_buffer("centre", centre)

    @classmethod
    def calibrated(cls, name: str, net: nn.Module, facts: Mapping[str, Any]) -> Encoder:
        """With the facts of a bundle's calibration file, which `training.encoders` writes."""
        height, width = facts["size"]
        crop = Crop(tuple((x, y) for x, y in facts["template"]), (height, width))
        thresholds = {float(far): cosine for far, cosine in facts["thresholds"].items()}
        return cls(name, net, crop, torch.tensor(facts["centre"]), thresholds, facts["role"]).eval()

    def required(self, margin: float) -> float:
        """The cosine a protected face must keep: `margin` of the way from the threshold at FAR 1e-3 to 1.

        Another photo of the person is further away than the one at hand, in every encoder by its own measure. A
        referee, which nothing is optimised against, needs no margin.
        """
        return self.at(margin if self.role == "surrogate" else 0.0)

    def allowed(self, margin: float) -> float:
        """The cosine a face may keep that is not to be matched: `margin` of the threshold at FAR 1e-2 below it.

        For a referee the threshold itself, as above.
        """
        return self.thresholds[1e-2] * (1 - (margin if self.role == "surrogate" else 0.0))

    def at(self, share: float) -> float:
        """The cosine that is this share of the way from the threshold at FAR 1e-3 to 1."""
        threshold = self.thresholds[1e-3]
        return threshold + share * (1 - threshold)

    def crops(self, images: Float[Tensor, "b 3 H W"], landmarks: Float[Tensor, "b 5 2"]) -> Tensor:
        """The crops the network sees, RGB in [0, 1] (B, 3, h, w); outside the image is black."""
        return warp.sample(images, warp.similarity(landmarks, self.template), self.size)

    def forward(self, crops: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """Unit vectors of aligned crops."""
        return F.normalize(self.net(crops) - self.centre, dim=1)

    def embed(self, images: Float[Tensor, "b 3 H W"], landmarks: Float[Tensor, "b 5 2"]) -> Float[Tensor, "b d"]:
        """Unit vectors of images RGB in [0, 1] with landmarks in px."""
        embeddings: Tensor = self(self.crops(images, landmarks))
        return embeddings

    @torch.no_grad()
    def identity(self, images: Float[Tensor, "b 3 H W"], landmarks: Float[Tensor, "b 5 2"]) -> Tensor:
        """Identity vectors: mean over the crop and its mirror image, unit norm (B, d)."""
        crops = self.crops(images, landmarks)
        return F.normalize(self(crops) + self(crops.flip(-1)), dim=1)

    def recall(self, personas: Sequence[Persona]) -> Float[Tensor, "n d"]:
        """`identity` of personas as they are. Each is read once, because a bank does not change and methods ask for ten
        of it a photo; and alone, because a seed's faces are not to depend on who was asked for before, in a batch."""
        for persona in personas:
            if persona not in self._personas:
                (self._personas[persona],) = self.identity(*pictures([persona], self.centre.device))
        return torch.stack([self._personas[persona] for persona in personas])
