"""The same person becomes the same somebody else in all photos, and nobody else does."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from core.errors import NoFaceFound, RequestRefused
from core.looks import Age
from core.methods import id2face
from core.networks import Networks
from core.pipeline import Request, attempt
from core.pseudonyms import Album, draw
from core.stages.validate import Limits, Photo
from core.vault.custody import Custody
from sider.consistent import with_pseudonyms
from sider.local import Engine
from sider.runs import Wish
from tests.fakes import picture

CONFIG = dataclasses.replace(id2face.PRESETS["standard"], candidates=8)


@pytest.fixture(scope="module")
def photos(astronaut: Photo, networks: Networks) -> dict[str, Photo]:
    """One woman, twice; a persona in her place; and nobody."""
    persona = Photo(networks.personas[0].image.copy())
    darker = Photo((astronaut.pixels * 0.8).astype(np.uint8))
    return {"she": astronaut, "darker": darker, "persona": persona, "nobody": picture()}


def drawn(
    photos: dict[str, Photo], networks: Networks, seed: int, before: dict[str, tuple[str, ...]] | None = None
) -> dict[str, tuple[str, ...]]:
    album = Album(list(photos), photos.__getitem__, networks)
    return draw(album, CONFIG, before or {}, torch.Generator().manual_seed(seed), lambda *_: None)


def test_a_person_gets_one_persona_and_another_person_another(photos: dict[str, Photo], networks: Networks) -> None:
    given = drawn(photos, networks, 1)
    assert set(given) == {"she", "darker", "persona"}
    assert given["she"] == given["darker"] != given["persona"]
    request = Request("id2face", seed=1, personas=given["she"])
    outcome = attempt(photos["she"], request, networks, lambda *_: None)
    assert outcome.held
    assert outcome.report["variants"][0][0]["persona"].startswith(given["she"][0])


def test_who_was_given_one_before_keeps_it(photos: dict[str, Photo], networks: Networks) -> None:
    some = {name: photos[name] for name in ("she", "persona")}
    first = drawn(some, networks, 1)
    later = drawn({"darker": photos["darker"], **some}, networks, 2, {"she": first["she"]})
    assert later["darker"] == later["she"] == first["she"] != later["persona"]


def test_a_photo_whose_result_was_lost_keeps_its_persona(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sider.consistent.networks", lambda: None)
    monkeypatch.setattr("core.pseudonyms.draw", lambda _album, _config, before, *_: before)
    wish = Wish("id2face", "standard", 1, None, Custody.CALLER, None, consistent=True)
    engine = Engine(wish, False, None, None, Limits(10**6, 10**6))
    photo, result = tmp_path / "a.png", tmp_path / "out.png"
    for path in (photo, result):
        path.write_bytes(b"a")
    done = {photo: {"protected": [str(result)], "report": {"variants": [[{"persona": "116"}]]}}}

    def personas() -> list[Sequence[str]]:
        again = with_pseudonyms(engine, [(photo, Path("a"))], done, Console(quiet=True))
        return list(again.personas.values())

    assert personas() == []  # nothing is left to do
    result.unlink()
    assert personas() == [["116"]]


def test_no_persona_is_given_to_two_people(photos: dict[str, Photo], networks: Networks) -> None:
    few = dataclasses.replace(networks, personas=networks.personas[10:12])
    with pytest.raises(RequestRefused, match="more people than personas"):
        drawn({name: photos[name] for name in ("she", "persona")}, few, 1)


def test_a_look_that_no_persona_is_left_of_is_refused(photos: dict[str, Photo], networks: Networks) -> None:
    (young,) = (p for p in networks.personas if p.name == "116")
    album = Album(["she"], photos.__getitem__, dataclasses.replace(networks, personas=(young,)))
    old = dataclasses.replace(CONFIG, age=Age.old)
    with pytest.raises(RequestRefused, match="of this look"):
        draw(album, old, {}, torch.Generator().manual_seed(1), lambda *_: None)


def test_photos_without_faces_are_left_out(networks: Networks) -> None:
    assert drawn({"nobody": picture()}, networks, 1) == {}
    with pytest.raises(NoFaceFound):
        attempt(picture(), Request("id2face"), networks, lambda *_: None)
