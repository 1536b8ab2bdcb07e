"""There and back on real photos."""

from __future__ import annotations

import dataclasses
import json
from copy import copy
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core import methods, pipeline
from core.errors import NoFaceFound, PromiseNotMet, RequestRefused, RestoreDenied
from core.networks import Networks
from core.pipeline import Made, Outcome, Request, attempt, protect, restore
from core.stages.align import MAX_FACES
from core.stages.optimise import Protected
from core.stages.validate import Photo
from core.vault.restoration import MAX_COVER, Restoration
from tests.fakes import picture


@pytest.fixture(scope="module")
def steps() -> list[tuple[str, float]]:
    return []


@pytest.fixture(scope="module")
def outcome(astronaut: Photo, networks: Networks, steps: list[tuple[str, float]]) -> Outcome:
    twice = np.concatenate((astronaut.pixels, astronaut.pixels[:, ::-1]), 1)
    return protect(
        Photo(twice), Request(preset="natural", variants=2, seed=1), networks, lambda s, f: steps.append((s, f))
    )


def test_two_faces_two_variants(outcome: Outcome) -> None:
    assert len(outcome.protected) == 2
    for faces in outcome.report["variants"]:
        assert len(faces) == 2
        for face in faces:
            facts = face["encoders"]["dlib"]
            assert facts["cosine"] >= facts["required"] > facts["threshold_far_1e-3"] > facts["threshold_far_1e-2"]
            assert facts["cosine_found_again"] >= facts["threshold_far_1e-3"]
            assert face["distance_to_persona"] < face["distance_to_source"]


def test_a_referee_judges_and_is_not_optimised_against(astronaut: Photo, networks: Networks) -> None:
    first, second = networks.surrogates[:2]
    referee = copy(second)
    referee.role = "referee"
    panel = dataclasses.replace(networks, encoders=(first, referee))
    assert panel.surrogates == (first,)
    report = attempt(astronaut, Request(preset="natural", seed=1), panel, lambda *_: None).report
    facts = report["variants"][0][0]["encoders"][referee.name]
    assert facts["role"] == "referee"
    assert facts["required"] == round(referee.thresholds[1e-3], 4)
    # What no gradient pushed does not come as far as it does where it steers.
    assert facts["cosine"] < second.required(methods.load("sider").PRESETS["standard"].aim)


def test_the_report_is_json_and_names_no_path(outcome: Outcome) -> None:
    text = json.dumps(outcome.report)
    assert "/" not in text


def test_progress_goes_up_to_one(outcome: Outcome, steps: list[tuple[str, float]]) -> None:
    optimising = [f for s, f in steps if s == "optimise"]
    assert optimising == sorted(optimising)
    assert steps[-1] == ("done", 1.0)


def test_restored_bit_for_bit_through_png(outcome: Outcome, astronaut: Photo) -> None:
    from core.stages.validate import read_photo

    packed = outcome.restoration.pack()
    for variant in outcome.protected:
        original = restore(read_photo(variant.to_png()), packed)
        assert (original.pixels[:, :512] == astronaut.pixels).all()


def test_a_photo_that_is_not_the_protected_one_is_denied(outcome: Outcome) -> None:
    pixels = outcome.protected[0].pixels.copy()
    pixels[0, 0, 0] ^= 1
    with pytest.raises(RestoreDenied):
        restore(Photo(pixels), outcome.restoration.pack())


def test_as_many_boxes_as_faces_are_restored() -> None:
    assert MAX_COVER >= MAX_FACES


def test_boxes_are_decoded_at_a_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    original = picture()
    protected = original.pixels.copy()
    protected[8:9, 8:40] ^= 1
    packed = Restoration.of(original.pixels, [protected], [(8, 8, 32, 1), (8, 4, 1, 64)]).pack()
    damaged = packed[:-20] + bytes(20)
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("a box was decoded beside the keys"))
    assert (restore(Photo(protected), packed).pixels == original.pixels).all()
    with pytest.raises(RestoreDenied):
        restore(Photo(protected), damaged)


def test_a_missed_promise_is_an_error_with_the_numbers(
    astronaut: Photo, networks: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.stages.measure.RECOGNISABLE", -1.0)
    with pytest.raises(PromiseNotMet) as caught:
        protect(astronaut, Request(seed=1), networks, lambda *_: None)
    assert caught.value.details["report"]["held"] is False


@pytest.mark.parametrize(("asked", "held", "tries"), [(None, True, 2), (None, False, 2), (5, False, 1)])
def test_a_promise_that_is_missed_is_tried_with_another_seed_unless_one_was_asked_for(
    asked: int | None,
    held: bool,
    tries: int,
    astronaut: Photo,
    networks: Networks,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seeds: list[int] = []

    def make(*arguments: Any) -> Made:
        seeds.append(arguments[3])
        return Made(Protected((), 0), (astronaut,), [[{"held": held and len(seeds) == tries}]])

    monkeypatch.setattr(pipeline, "make", make)
    made = attempt(astronaut, Request(seed=asked), networks, lambda *_: None)
    assert (made.held, made.report["seed"], len(set(seeds)), len(seeds)) == (held, asked, tries, tries)
    assert asked in (None, *seeds)


def test_refusals(networks: Networks, astronaut: Photo) -> None:
    with pytest.raises(NoFaceFound):
        attempt(picture(256, 256), Request(), networks, lambda *_: None)
    with pytest.raises(RequestRefused) as caught:
        attempt(astronaut, Request(preset="loud"), networks, lambda *_: None)
    assert caught.value.code == "preset_unknown"
