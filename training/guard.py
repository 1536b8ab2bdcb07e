"""Keep a synthetic face from matching the portraits it was made of; and who is like whom."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from core import objectives
from core.networks import Encoder, dlib
from core.networks.apparent import Apparent
from core.networks.autoencoder import PatchAutoencoder
from core.networks.bundle import PACKAGED
from core.networks.personas import Persona, pictures
from core.stages.latents import decode, encode, pixel_gain
from core.stages.optimise import Descent, optimise
from core.stages.regions import face_mask
from training import teachers
from training.portraits import Portrait

Image = NDArray[np.float64]  # (256, 256, 3) RGB in [0, 1]
BATCH = 32
APART = 0.04  # cosine below every threshold at FAR 1e-3 that a face keeps from its sources


def dlib_encoder(bundle: Path = PACKAGED) -> Encoder:
    """dlib's network as the bundle calibrates it."""
    facts = json.loads((bundle / "encoders" / "dlib.json").read_text(encoding="utf-8"))
    return Encoder.calibrated("dlib", dlib.load(dlib.packaged_file()), facts)


class Guard:
    """Keeps personas from matching their sources, by every network at hand."""

    def __init__(self) -> None:
        self.dlib, self.apparent = dlib_encoder(), Apparent.load(PACKAGED, torch.device("cpu"))
        self.autoencoder = (
            PatchAutoencoder.from_pretrained(PACKAGED / "autoencoder", low_cpu_mem_usage=False)
            .eval()
            .requires_grad_(False)
        )
        known = ((self.dlib, self.dlib.thresholds), *teachers.networks("teacher"))
        self.networks = [(net.embed, cuts) for net, cuts in known]

    def push_away(self, persona: Image, landmarks: NDArray[np.float64], sources: list[Portrait]) -> tuple[Image, bool]:
        """The persona moved, as little as the eye would notice, until no network matches it to a source.

        A mean of faces still lies near each of them in an encoder's space, however little it looks like them.
        """
        images = torch.from_numpy(np.stack([s.pixels() for s in sources])).float().permute(0, 3, 1, 2) / 255
        marks = torch.tensor(np.stack([s.landmarks for s in sources])).float()
        with torch.no_grad():
            identities = [embed(images, marks) for embed, _ in self.networks]
        start = torch.from_numpy(persona).float().permute(2, 0, 1)[None]
        own = torch.tensor(landmarks).float()[None]
        mask = torch.from_numpy(face_mask(landmarks.astype(np.float32), grow=0.05))[None, None]
        colour = (start * mask).sum((2, 3), keepdim=True) / mask.sum()
        z = encode(start, self.autoencoder)
        decoded, gain = decode(z, self.autoencoder), pixel_gain(z, self.autoencoder)

        def render(u: torch.Tensor) -> torch.Tensor:
            return (start + decode(z + u / gain, self.autoencoder) - decoded).clamp(0, 1)

        def excess(face: torch.Tensor) -> torch.Tensor:
            # Only the interior is a persona: what is outside the mask is never used.
            shown = mask * face + (1 - mask) * colour
            pairs = zip(self.networks, identities, strict=True)
            return torch.stack([(embed(shown, own) @ v.T).amax(1) - cuts[1e-3] for (embed, cuts), v in pairs])

        def objective(u: torch.Tensor) -> torch.Tensor:
            face = render(u)
            visible = objectives.visual_distance(face, start, mask)
            return torch.relu(excess(face) + 2 * APART).sum(0) + 0.25 * visible

        def satisfied(u: torch.Tensor) -> torch.Tensor:
            return excess((render(u) * 255).round() / 255).amax(0) < -APART

        u, _ = optimise(torch.zeros_like(z), objective, satisfied, Descent(steps=120), lambda _: None)
        with torch.no_grad():
            pushed, apart = render(u), bool(satisfied(u).all())
        return pushed[0].permute(1, 2, 0).double().numpy(), apart

    @torch.no_grad()
    def alike(self, personas: Sequence[Persona]) -> list[frozenset[str]]:
        """For each the names of those that networks, on average, take for it at FAR 1e-2."""
        images, marks = pictures(personas, torch.device("cpu"))
        batches = list(zip(images.split(BATCH), marks.split(BATCH), strict=True))
        shares = []
        for embed, cuts in self.networks:
            read = torch.cat([embed(*batch) for batch in batches])
            shares.append(read @ read.T / cuts[1e-2])
        taken = torch.stack(shares).mean(0) >= 1
        rows = (zip(personas, row, strict=True) for row in taken.fill_diagonal_(False).tolist())
        return [frozenset(persona.name for persona, yes in row if yes) for row in rows]

    def looks(self, persona: Image, landmarks: NDArray[np.float64]) -> tuple[float, float]:
        """Gender presentation of the persona, -1..1, and its age in years."""
        image = torch.from_numpy(persona).float().permute(2, 0, 1)[None]
        vector = self.dlib.identity(image, torch.tensor(landmarks).float()[None])
        presentation, age = self.apparent.read(vector)
        return float(presentation[0]), float(age[0])
