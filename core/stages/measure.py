"""Measure a method's promise on every face of the pasted photo, in its 8-bit pixels."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from core import objectives
from core.errors import NoFaceFound
from core.networks import Encoder, Networks, warp
from core.promise import Promise
from core.stages.align import AlignedFaces, crop, find, stored
from core.stages.decouple import cosines, decouple
from core.stages.recompose import RECOGNISABLE, Recomposed
from core.stages.validate import Photo

NEIGHBOUR = 32.0  # px of the aligned face from which on landmarks are those of another one
SAME_LOOK = 0.86  # structural similarity that people must keep to recognise: 95 % of pairs who fit share less


@torch.no_grad()
def measure(
    faces: AlignedFaces,
    photo: Photo,
    networks: Networks,
    promise: Promise,
    margin: float,
    start: Recomposed | None = None,
) -> list[dict[str, Any]]:
    """The promise of every face of the photo, which may have been given a persona each: `start` is they as put on.

    Identity is read twice: through the source's own crop, where surrogates must hold the margin, and through
    landmarks found again by the detector, as a stranger would, where the threshold must hold. `required` is what a
    cosine must reach where machines are to match, and what it must not pass where they are not; `distance_required`
    likewise, as people are to see someone else or not. A face that is not found again has no cosine there, None: what
    cannot be aligned matches nobody.
    """
    identity, appearance = decouple(faces, networks)
    seen = crop(photo, faces.matrices, faces.boxes)
    found = _found_again(faces, photo, networks)
    at_source = cosines(networks.encoders, seen, faces.landmarks, identity)[:, 0]
    marks = torch.stack([own if again is None else again for own, again in zip(faces.landmarks, found, strict=True)])
    at_found = cosines(networks.encoders, seen, marks, identity)[:, 0]
    # To be known again a face must be left as it is everywhere; people tell two apart by their features.
    alike, where = (
        (objectives.structure, appearance.masks)
        if promise.people_recognise
        else (objectives.likeness, appearance.features)
    )
    distance = 1 - alike(seen, faces.images, where)
    rows = []
    for b in range(len(faces)):
        encoders = {
            encoder.name: _identity(
                encoder, float(at_source[k, b]), None if found[b] is None else float(at_found[k, b]), promise, margin
            )
            for k, encoder in enumerate(networks.encoders)
        }
        look = _look(float(distance[b]), promise)
        held = look["distance_held"] and all(e["held"] for e in encoders.values())
        rows.append({"box": list(faces.boxes[b]), "encoders": encoders, **look, "held": held})
    if start:
        kept = 1 - alike(seen, stored(faces, start.images), where)
        for row, persona, k in zip(rows, start.personas, kept.tolist(), strict=True):
            row |= {"persona": persona, "distance_to_persona": round(k, 4)}
    return rows


def _identity(encoder: Encoder, cosine: float, again: float | None, promise: Promise, margin: float) -> dict[str, Any]:
    if promise.machines_match:
        required = encoder.required(margin)
        held = cosine >= required and again is not None and again >= encoder.thresholds[1e-3]
    else:
        required = encoder.allowed(margin)
        held = cosine <= required and (again is None or again <= encoder.thresholds[1e-2])
    return {
        "role": encoder.role,
        "cosine": round(cosine, 4),
        "cosine_found_again": None if again is None else round(again, 4),
        "required": round(required, 4),
        "threshold_far_1e-2": encoder.thresholds[1e-2],
        "threshold_far_1e-3": encoder.thresholds[1e-3],
        "held": held,
    }


def _look(distance: float, promise: Promise) -> dict[str, Any]:
    required = 1 - (SAME_LOOK if promise.people_recognise else RECOGNISABLE)
    held = distance <= required if promise.people_recognise else distance >= required
    return {
        "distance_to_source": round(distance, 4),
        "distance_required": round(required, 4),
        "distance_held": held,
    }


def _found_again(faces: AlignedFaces, photo: Photo, networks: Networks) -> list[Float[Tensor, "5 2"] | None]:
    """Landmarks of the protected faces as the detector finds them, in aligned px; None for one that it does not."""
    try:
        marks = find(photo, networks.detector).to(faces.landmarks)
    except NoFaceFound:
        return [None] * len(faces)
    out: list[Tensor | None] = []
    for own, matrix in zip(faces.landmarks, faces.matrices, strict=True):
        local = warp.move(marks, matrix.expand(len(marks), -1, -1))
        off = (local - own).abs().mean((1, 2))
        nearest = int(off.argmin())
        out.append(local[nearest] if float(off[nearest]) < NEIGHBOUR else None)
    return out
