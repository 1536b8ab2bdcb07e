"""The promise in all its directions, on a photo that nothing was done to."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from core.networks import Networks
from core.promise import Promise
from core.stages.align import AlignedFaces
from core.stages.measure import measure
from core.stages.validate import Photo


def unchanged(faces: AlignedFaces, networks: Networks, people: bool, machines: bool) -> dict[str, Any]:
    (row,) = measure(faces, faces.photo, networks, Promise(people, machines), 0.2)
    return row


@pytest.mark.parametrize("people", [True, False])
@pytest.mark.parametrize("machines", [True, False])
def test_the_source_itself_keeps_only_the_promise_of_being_recognised(
    faces: AlignedFaces, networks: Networks, people: bool, machines: bool
) -> None:
    row = unchanged(faces, networks, people, machines)
    assert row["distance_held"] is people
    assert all(e["held"] is machines for e in row["encoders"].values())
    assert row["held"] is (people and machines)
    assert "persona" not in row


def test_what_is_required_is_stricter_for_surrogates(faces: AlignedFaces, networks: Networks) -> None:
    (referee,) = networks.referees
    rows = unchanged(faces, networks, people=True, machines=False)["encoders"]
    assert rows[referee.name]["required"] == round(referee.thresholds[1e-2], 4)
    for encoder in networks.surrogates:
        assert rows[encoder.name]["required"] == round(0.8 * encoder.thresholds[1e-2], 4)


@pytest.mark.parametrize("machines", [True, False])
def test_a_face_that_is_not_found_again_matches_nobody(faces: AlignedFaces, networks: Networks, machines: bool) -> None:
    """Flat grey in its place; the report stays plain JSON, which knows no NaN."""
    gone = Photo(np.full_like(faces.photo.pixels, 128))
    (row,) = measure(faces, gone, networks, Promise(people_recognise=False, machines_match=machines), 0.0)
    assert all(e["cosine_found_again"] is None for e in row["encoders"].values())
    assert any(e["held"] for e in row["encoders"].values()) is not machines
    json.dumps(row, allow_nan=False)
