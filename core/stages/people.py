"""Tell apart the people in the faces of several photos, by what encoders read. Nothing of it is kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from core.networks import Encoder
from core.stages.decouple import Identity

APART = 1e9  # of two faces of one photo, which are two people whatever they look like


def tell_apart(identity: Identity, photos: Sequence[str], encoders: tuple[Encoder, ...]) -> list[int]:
    """A number of a person for each face of `identity`, from 0 in the order of the faces; `photos`: where each is.

    Two faces are as near as the mean of the encoders' cosines in shares of their thresholds at FAR 1e-3; people are
    clusters whose faces are on average above it (average linkage), so that one mistaken pair joins no two of them.
    """
    if len(photos) < 2:
        return [0] * len(photos)
    vectors = [identity.vectors[e.name] / e.thresholds[1e-3] ** 0.5 for e in encoders]
    nearness = torch.stack([v @ v.T for v in vectors]).mean(0).double().cpu().numpy()
    top = nearness.max() + 1
    where = np.unique(photos, return_inverse=True)[1]
    distance = np.where(where == where[:, None], APART, top - nearness)
    np.fill_diagonal(distance, 0)
    labels = fcluster(linkage(squareform(distance, checks=False), "average"), top - 1, "distance")
    numbers: dict[int, int] = {}
    return [numbers.setdefault(int(label), len(numbers)) for label in labels]
