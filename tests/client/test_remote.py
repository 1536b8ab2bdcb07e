"""`--server`: what becomes of a photo at the service when something is lost on the way, and of its original."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from rich.console import Console

from core.errors import PhotoRefused, RequestRefused, StateConflict
from core.looks import Age, Faces, Presenting
from core.stages.validate import Photo
from core.vault.custody import Custody
from sider import remote
from sider.client import Client
from sider.files import plan
from sider.runs import Run, Wish
from tests.client.scripted import (
    ACCEPTED,
    LOST,
    PICTURE,
    Answer,
    Service,
    event,
    events,
    job,
    photo_view,
    problem,
    stored,
)
from tests.fakes import picture

SERVER = "http://sider.test"
WISH = Wish("sider", "standard", 2, None, Custody.SPLIT, "correct horse battery")
REPORT = {"variants": [], "held": True}
PROBLEM = {"type": "", "title": "", "status": 503, "detail": "why", "code": "store_unavailable"}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sider.client.shells.time.sleep", lambda _: None)


def protect(folder: Path, *answers: Answer) -> tuple[dict[str, Any], Service]:
    """A run's line about its one photo, and what it asked the service."""
    (folder / "in").mkdir(exist_ok=True)
    (folder / "in" / "a.png").write_bytes(picture().to_png())
    service = Service(*answers)
    with Client(SERVER, "sdr_key", transport=httpx2.MockTransport(service)) as client:
        run = Run(folder / "out", WISH, overwrite=False, as_json=True)
        photos = list(plan([folder / "in"], folder / "out"))
        [line] = run.protect_all(photos, remote.Service(client, WISH, SERVER), Console(quiet=True))
    assert service.answers == []
    return line, service


def key(service: Service) -> str:
    return service.asked[0].headers["idempotency-key"]


def accepted() -> httpx2.Response:
    return httpx2.Response(202, json=ACCEPTED)


def succeeded() -> Iterator[httpx2.Response]:
    yield events(event("end", state="succeeded", progress=1.0))
    yield httpx2.Response(200, json=job(state="succeeded", result={"report": REPORT}))


def both() -> Iterator[httpx2.Response]:
    view = photo_view(1).json()
    view["variants"].append({"name": "v2", "link": "http://store.test/v2.png"})
    for _ in range(2):
        yield httpx2.Response(200, json=view)
        yield stored(PICTURE)


def test_what_is_wished_for_is_asked_of_the_service() -> None:
    asked = remote._options(replace(WISH, presentation=Presenting.any, age=Age.old, faces=Faces.largest, seed=0))
    assert asked == {
        "method": "sider", "preset": "standard", "variants": 2, "custody": "split", "password": WISH.password,
        "presentation": "any", "age": "old", "faces": "largest", "seed": 0,
    }  # fmt: skip
    assert not {"password", "seed"} & remote._options(replace(WISH, password=None)).keys()


def test_the_key_of_the_file_that_is_named_and_a_token_for_each_restore(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(remote.KEY_VARIABLE, "sdr_of_the_environment")
    (tmp_path / "key").write_text("sdr_of_the_file\n")
    with remote.connect(SERVER, tmp_path / "key", tmp_path / "token") as client:
        for token in ("early", "late"):  # whoever renews it writes the file
            (tmp_path / "token").write_text(f"{token}\n")
            ask: Any = next(client._flows.restore("pho_1", reason="dispute 4711"))
            told = (ask.headers["X-API-Key"], ask.headers["Authorization"])
            assert told == ("sdr_of_the_file", f"Bearer {token}")
        elsewhere: Any = next(client._flows.protect(PICTURE))
        assert "Authorization" not in elsewhere.headers


@pytest.mark.parametrize(
    "lost",
    [
        lambda: [LOST] * 6,
        lambda: [problem(401, "unauthenticated")],  # of this call; an earlier one may have been heard
        lambda: [problem(422, "idempotency_key_reused")],
        lambda: [accepted(), *succeeded(), photo_view(1), *[httpx2.Response(503), photo_view(1)] * 5, LOST],
        lambda: [accepted(), *succeeded(), *list(both())[:2], problem(500, "internal_error")],
    ],
)
def test_a_photo_that_the_service_may_have_is_asked_for_and_not_sent_as_another(tmp_path: Path, lost: Any) -> None:
    line, first = protect(tmp_path, *lost())
    assert "error" in line
    line, again = protect(tmp_path, accepted(), *succeeded(), *both())
    assert (line["held"], line["photo_id"]) == (True, "pho_1")
    assert key(again) == key(first)
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == ["a.png", "a.v2.png"]


@pytest.mark.parametrize(
    "ended",
    [
        lambda: [problem(422, "photo_damaged")],
        lambda: [
            accepted(), events(event("end", state="failed")),
            httpx2.Response(200, json=job(state="failed", problem=PROBLEM)),
        ],
        lambda: [
            accepted(), events(event("end", state="cancelled")),
            httpx2.Response(200, json=job(state="cancelled")),
        ],
        lambda: [accepted(), problem(404, "not_found")],
        lambda: [accepted(), *succeeded(), *list(both())[:2], problem(404, "not_found")],
    ],
)  # fmt: skip
def test_a_photo_that_the_service_has_not_is_sent_anew(tmp_path: Path, ended: Any) -> None:
    line, first = protect(tmp_path, *ended())
    assert "error" in line
    line, again = protect(tmp_path, accepted(), *succeeded(), *both())
    assert line["held"]
    assert key(again) != key(first)


def restored(folder: Path, original: Photo, data: bytes) -> dict[str, Any]:
    """The line of a restore to back.png: the original is promised, the data come."""
    ended = job(kind="restore", state="succeeded", result={"link": "http://store.test/o", "sha256": original.sha256})
    service = Service(
        httpx2.Response(200, json={"made_here": True, "outputs": twins().json()["outputs"][:1]}),
        httpx2.Response(200, json=photo_view(1).json() | {"custody": "server"}), accepted(),
        events(event("end", state="succeeded")), httpx2.Response(200, json=ended),
        httpx2.Response(200, headers={"x-amz-meta-sha256": hashlib.sha256(data).hexdigest()}, content=data),
    )  # fmt: skip
    (folder / "a.png").write_bytes(PICTURE)
    with Client(SERVER, "sdr_key", transport=httpx2.MockTransport(service)) as client:
        return remote.restore(client, folder / "a.png", folder / "back.png", lambda: "", "dispute 4711")


def test_what_is_not_the_original_replaces_nothing(tmp_path: Path) -> None:
    (tmp_path / "back.png").write_bytes(b"mine")
    with pytest.raises(StateConflict, match="not the original"):
        restored(tmp_path, picture(seed=1), picture(seed=2).to_png())
    with pytest.raises(PhotoRefused):
        restored(tmp_path, picture(seed=1), b"no picture at all")
    assert (tmp_path / "back.png").read_bytes() == b"mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "back.png"]


def test_the_original_replaces_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "back.png").write_bytes(b"mine")
    assert restored(tmp_path, picture(seed=1), picture(seed=1).to_png())["restored"] == str(tmp_path / "back.png")
    assert (tmp_path / "back.png").read_bytes() == picture(seed=1).to_png()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "back.png"]


def test_an_original_larger_than_new_photos_may_be_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its link was the only one."""
    monkeypatch.setenv("SIDER_MAX_PIXELS", "100")
    original = Photo(np.zeros((5000, 8200, 3), np.uint8))  # 41 MP
    data = original.to_png()
    line = restored(tmp_path, original, data)
    assert line == {"restored": str(tmp_path / "back.png"), "sha256": original.sha256, "exact": True}
    assert (tmp_path / "back.png").read_bytes() == data


TWINS = ["pho_" + "1" * 32, "pho_" + "2" * 32]


def twins() -> httpx2.Response:
    """Of a picture that two photos were protected as, one of them in two variants."""
    outputs = [
        {"photo_id": photo_id, "name": name, "protected_at": None}
        for photo_id, name in ((TWINS[0], "v1"), (TWINS[1], "v1"), (TWINS[1], "v2"))
    ]
    return httpx2.Response(200, json={"made_here": True, "outputs": outputs})


def erased(photo_id: str) -> httpx2.Response:
    receipt = {"erased_at": "2026-11-21T10:00:00Z", "key_destroyed": True, "objects_deleted": 1}
    return httpx2.Response(200, json={"photo_id": photo_id, **receipt})


def test_a_picture_erases_every_photo_that_it_was_made_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.png").write_bytes(PICTURE)
    service = Service(twins(), *map(erased, TWINS))
    with Client(SERVER, "sdr_key", transport=httpx2.MockTransport(service)) as client:
        assert remote.erase_all(client, [str(tmp_path / "a.png")], Console(quiet=True), as_json=True) == 0
    assert service.paths[1:] == [f"/photos/{photo_id}" for photo_id in TWINS]
    assert [json.loads(line)["erased"] for line in capsys.readouterr().out.splitlines()] == TWINS


def test_what_was_not_erased_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    service = Service(erased(TWINS[0]), problem(404, "not_found"))
    with Client(SERVER, "sdr_key", transport=httpx2.MockTransport(service)) as client:
        assert remote.erase_all(client, TWINS, Console(quiet=True), as_json=True) == 1
    assert ["error" in json.loads(line) for line in capsys.readouterr().out.splitlines()] == [False, True]


def test_a_picture_of_several_photos_is_restored_as_none_of_them(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PICTURE)
    service = Service(twins())
    with (
        Client(SERVER, "sdr_key", transport=httpx2.MockTransport(service)) as client,
        pytest.raises(RequestRefused, match=", ".join(TWINS)),
    ):
        remote.restore(client, tmp_path / "a.png", tmp_path / "back.png", lambda: "", "dispute 4711")
    assert len(service.asked) == 1  # no password was tried
