"""Files that are not as they should be, of which none may end a run: far too large, lost, or cut off in a crash."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Thread

import pytest
from rich.console import Console

from core.errors import PhotoRefused, Unavailable
from core.stages.validate import Limits
from core.vault import passwords
from core.vault.envelope import seal
from core.vault.keyring import Keyring
from core.vault.restoration import Restoration
from sider import local
from sider.files import read_file
from sider.runs import JOURNAL, Journal, OutcomeUnknown, Run, restore_all
from tests.fakes import LightEngine, picture
from tests.test_runs import PHOTOS, WISH, Fake, photos, protect, resumes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for name, data in PHOTOS.items():
        (tmp_path / "in" / f"{name}.png").write_bytes(data)
    return tmp_path


def huge(path: Path) -> None:
    """2 ** 40 bytes, of which the disk holds none."""
    with path.open("wb") as file:
        file.truncate(2**40)


def test_a_photo_that_is_too_large_keeps_no_other_from_being_done(folder: Path) -> None:
    huge(folder / "in" / "b.png")
    protector = Fake()
    lines = protect(folder, protector)
    assert lines["b"]["error"]["code"] == "photo_too_large"
    assert f"more than the {protector.max_bytes} bytes" in lines["b"]["error"]["message"]
    assert (lines["a"]["held"], lines["c"]["held"], len(protector.done)) == (True, True, 2)


def test_as_many_bytes_as_are_accepted_are_read_and_not_one_more(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"four")
    assert read_file(tmp_path / "a", 4) == b"four"
    with pytest.raises(PhotoRefused, match="more than the 3 bytes"):
        read_file(tmp_path / "a", 3)
    with pytest.raises(PhotoRefused, match="more than the 4 bytes"):
        read_file(Path("/dev/zero"), 4)
    os.mkfifo(tmp_path / "pipe")  # as of <(...) in a shell
    writer = Thread(target=(tmp_path / "pipe").write_bytes, args=[b"four"])
    writer.start()
    assert read_file(tmp_path / "pipe", 10) == b"four"
    writer.join()


def test_a_photo_that_has_become_too_large_is_in_nobodys_way(folder: Path) -> None:
    protect(folder, Fake({PHOTOS["b"]: OutcomeUnknown(Unavailable("away"))}))
    assert resumes(folder)
    for name in ("a", "b"):
        huge(folder / "in" / f"{name}.png")
    assert not resumes(folder)
    done = Run(folder / "out", WISH, overwrite=False, as_json=True).done(photos(folder), "")
    assert [path.stem for path in done] == ["c"]


def test_who_is_who_is_asked_without_a_photo_that_is_too_large(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sider.consistent import with_pseudonyms

    huge(folder / "in" / "b.png")
    monkeypatch.setattr("sider.consistent.networks", lambda: None)
    monkeypatch.setattr(
        "core.pseudonyms.draw", lambda album, *_: {name: (album.read(name).sha256,) for name in album.names}
    )
    wish = replace(WISH, method="id2face", consistent=True)
    engine = with_pseudonyms(local.Engine(wish, False, None, None, Limits()), photos(folder), {}, Console(quiet=True))
    assert set(engine.personas.values()) == {(picture(seed=n).sha256,) for n in (0, 2)}


def test_a_photo_whose_key_was_lost_is_not_taken_for_done(folder: Path) -> None:
    protect(folder, Fake())
    (folder / "out" / "a.key").unlink()
    lines = protect(folder, Fake())
    assert (lines["a"]["error"]["code"], lines["b"]["before"]) == ("file_exists", True)


def test_a_key_that_cannot_be_written_leaves_no_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It could never be restored."""
    monkeypatch.setattr("sider.local.networks", lambda: None)
    monkeypatch.setattr(
        "core.pipeline.attempt", lambda photo, request, _, progress: LightEngine().protect(photo, request, progress)
    )
    engine = local.Engine(WISH, False, Keyring.open_or_create(tmp_path / "keyring.json"), None, Limits())
    targets = [tmp_path / "no" / "a.key", tmp_path / "a.png", tmp_path / "a.v2.png"]
    with pytest.raises(FileNotFoundError):
        engine.protect(PHOTOS["a"], targets, "", lambda fraction: None)
    assert not list(tmp_path.glob("*.png"))


def test_a_picture_or_key_that_is_too_large_keeps_no_other_from_being_restored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels, password = picture().pixels, "correct horse battery"
    packed = Restoration.of(pixels, [pixels], []).pack()
    sealed = seal(packed, local.BINDING, None, passwords.lock(password))
    (tmp_path / "made").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / "made" / f"{name}.png").write_bytes(picture().to_png())
        (tmp_path / "made" / f"{name}.key").write_bytes(sealed)
    huge(tmp_path / "made" / "a.png")
    huge(tmp_path / "made" / "b.key")
    one = partial(local.restore, password=lambda: password)
    console = Console(quiet=True)
    assert restore_all([tmp_path / "made"], tmp_path / "back", one, console, overwrite=False, as_json=True) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["error"]["code"] for line in lines[:2]] == ["photo_too_large", "restore_denied"]
    assert lines[2]["restored"] == str(tmp_path / "back" / "c.png")


@pytest.mark.parametrize("left", [b'{"photo": "a", "is": "x", "att', b"\n[]", b"\0\0", b"\xff"])
def test_what_is_noted_after_a_line_that_was_cut_off_is_found(tmp_path: Path, left: bytes) -> None:
    whole = b'{"photo": "a", "is": "w"}\n'
    (tmp_path / JOURNAL).write_bytes(whole + left)
    for photo in ("b", "c"):
        Journal(tmp_path).note(photo, {"attempt": f"of {photo}"})
    journal = Journal(tmp_path)
    assert [journal.of(photo).get("attempt") for photo in ("b", "c")] == ["of b", "of c"]
    assert journal.of("a") == {"photo": "a", "is": "w"}
    assert (tmp_path / JOURNAL).read_bytes().startswith(whole + left + b"\n{")
    assert b"\n\n" not in (tmp_path / JOURNAL).read_bytes()[len(whole + left) :]
