"""The command line, in process."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from core.errors import RequestRefused
from core.networks.personas import MIRRORED
from core.stages.validate import Photo, read_photo
from core.vault import passwords
from core.vault.envelope import seal
from core.vault.keyring import Keyring
from sider.command import app
from sider.local import BINDING
from sider.sheet import write_sheet
from tests import profiles

PASSWORD = "correct horse battery"


@pytest.fixture
def folder(tmp_path: Path, astronaut: Photo, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIDER_KEYRING_FILE", str(tmp_path / "ring" / "keyring.json"))
    (tmp_path / "in" / "deep").mkdir(parents=True)
    her = tmp_path / "in" / "deep" / "her.jpg"
    Image.fromarray(astronaut.pixels).save(her, quality=95, icc_profile=profiles.SWAPPED)
    (tmp_path / "in" / "broken.jpg").write_bytes(b"\xff\xd8\xff no photo")
    (tmp_path / "in" / "notes.txt").write_text("no photo at all")
    (tmp_path / "password").write_text(PASSWORD + "\n")
    return tmp_path


def run(*args: Any) -> tuple[int, list[dict[str, Any]]]:
    result = CliRunner().invoke(app, [str(a) for a in args])
    lines = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    return result.exit_code, lines


def test_folder_there_and_back(folder: Path, astronaut: Photo) -> None:
    secret = ("--password-file", folder / "password", "--json")
    code, lines = run(
        "protect", folder / "in", "--out", folder / "out", "--preset", "natural", "--variants", 2, *secret
    )
    assert code == 1  # one photo was broken, and the other was protected all the same
    by_file = {Path(line["file"]).name: line for line in lines}
    assert by_file["broken.jpg"]["error"]["code"] == "photo_damaged"
    good = by_file["her.jpg"]
    assert good["held"]
    written = sorted(p.name for p in (folder / "out" / "deep").iterdir())
    assert written == ["her.key", "her.png", "her.v2.png"]
    for name in ("her.png", "her.v2.png"):
        with Image.open(folder / "out" / "deep" / name) as protected:
            assert protected.info["icc_profile"] == profiles.SWAPPED
        code, lines = run("restore", folder / "out" / "deep" / name, "--out", folder / "back", *secret)
        assert code == 0
        stem = name.removesuffix(".png")
        with (
            Image.open(folder / "back" / f"{stem}.png") as back,
            Image.open(folder / "in/deep/her.jpg") as source,
        ):
            assert np.array_equal(np.asarray(back), np.asarray(source))
            assert back.info["icc_profile"] == profiles.SWAPPED

    (folder / "password").write_text("wrong horse battery\n")
    code, lines = run("restore", folder / "out" / "deep" / "her.png", "--out", folder / "no", *secret)
    assert (code, lines[0]["error"]["code"]) == (1, "restore_denied")
    assert str(folder / "ring" / "keyring.json") in lines[0]["error"]["message"]
    assert not (folder / "no" / "her.png").exists()


def test_colours_of_the_contact_sheet_are_those_of_the_photo(folder: Path, astronaut: Photo) -> None:
    (folder / "her.png").write_bytes(Photo(astronaut.pixels, profiles.SWAPPED).to_png())
    write_sheet(folder / "sheet.html", [{"file": "a", "protected": [str(folder / "her.png")]}], originals=False)
    thumbnail = (folder / "sheet.html").read_text().split("data:image/webp;base64,")[1].split('"')[0]
    assert read_photo(base64.b64decode(thumbnail)).profile == profiles.SWAPPED


def test_a_lost_keyring_is_named_and_not_made_anew(folder: Path) -> None:
    lost = Keyring.open_or_create(folder / "lost" / "k.json")
    (folder / "in" / "broken.key").write_bytes(seal(b"", BINDING, lost, passwords.lock(PASSWORD)))
    arguments = ["restore", folder / "in" / "broken.jpg", "--out", folder / "back", "--json", "--password-file"]
    code, [line] = run(*arguments, folder / "password")
    assert (code, line["error"]["code"]) == (1, "configuration_error")
    assert str(folder / "ring" / "keyring.json") in line["error"]["message"]
    assert "SIDER_KEYRING_FILE" in line["error"]["message"]
    assert not (folder / "ring").exists()


def test_custody(folder: Path, astronaut: Photo) -> None:
    photo, ring = folder / "in" / "deep" / "her.jpg", folder / "ring" / "keyring.json"
    secret = ("--password-file", folder / "password")
    protect = ("protect", photo, "--preset", "natural", "--json")
    assert run(*protect, "--out", folder / "c", "--custody", "caller", *secret)[0] == 0
    assert not ring.exists()
    assert run("restore", folder / "c" / "her.png", "--out", folder / "back-c", *secret)[0] == 0
    assert run(*protect, "--out", folder / "s", "--custody", "server")[0] == 0
    assert ring.exists()
    assert run("restore", folder / "s" / "her.png", "--out", folder / "back-s")[0] == 0
    code, [line] = run("restore", folder / "c" / "her.png", "--out", folder / "no", "--json")
    assert (code, line["error"]["message"]) == (1, "no password: name a file with --password-file")
    refused = CliRunner().invoke(app, [*map(str, protect), "--out", "x", "--custody", "server", *map(str, secret)])
    assert "takes no password" in str(refused.exception)


def test_an_unknown_preset_is_told_before_anything_else(folder: Path) -> None:
    arguments = ["protect", str(folder / "no"), "--out", str(folder), "--password-file", str(folder / "password")]
    said = str(CliRunner().invoke(app, [*arguments, "--preset", "strongest"]).exception)
    assert said == "unknown preset 'strongest'; known: natural, standard, strong"


def test_a_missed_promise_writes_no_picture_unless_asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.stages.measure.RECOGNISABLE", -1.0)
    args = (
        "protect",
        folder / "in" / "deep",
        "--password-file",
        folder / "password",
        "--json",
        "--preset",
        "natural",
        "--seed",
        "3",
    )
    code, lines = run(*args, "--out", folder / "a")
    assert (code, lines[0]["error"]["code"], lines[0]["held"]) == (1, "promise_not_met", False)
    assert not list(folder.glob("a/**/*.png"))
    code, _ = run(*args, "--out", folder / "b", "--keep-missed")
    assert code == 1
    assert list(folder.glob("b/**/*.png"))


def test_one_new_identity_a_person(folder: Path, astronaut: Photo) -> None:
    her = folder / "in" / "deep" / "her.jpg"
    asked = ("--method", "id2face", "--consistent", "--presentation", "masculine", "--age", "old")
    asked = (*asked, "--json", "--out", folder / "out")
    secret = ("--password-file", folder / "password")
    _, [first] = run("protect", folder / "in" / "deep", *asked, *secret)
    Image.fromarray((astronaut.pixels * 0.8).astype(np.uint8)).save(her.with_name("dark.png"))
    _, lines = run("protect", folder / "in" / "deep", *asked, *secret)
    worn = (line["report"]["variants"][0][0]["persona"] for line in (first, *lines))
    given = {persona.removesuffix(MIRRORED) for persona in worn}
    assert len(lines) == 2
    assert len(given) == 1
    assert (first["report"]["presentation"], first["report"]["age"]) == ("masculine", "old")


@pytest.mark.parametrize(
    ("wish", "why"),
    [
        (["--method", "sider", "--consistent"], "needs --method id2face"),
        (["--method", "cloak", "--presentation", "any"], "does not take 'presentation'"),
        (["--method", "cloak", "--age", "any"], "does not take 'age'"),
        (["--method", "id2face", "--consistent", "--variants", "2"], "leave out --variants"),
        (["--method", "id2face", "--consistent", "--faces", "largest"], "leave out --faces"),
        (["--method", "id2face", "--consistent", "--server", "http://localhost"], "on this machine only"),
    ],
)
def test_what_a_method_or_a_service_cannot_do_is_refused(folder: Path, wish: list[str], why: str) -> None:
    secret = ["--password-file", str(folder / "password")]
    result = CliRunner().invoke(app, ["protect", str(folder / "in"), "--out", str(folder / "out"), *wish, *secret])
    assert isinstance(result.exception, RequestRefused)
    assert why in str(result.exception)


def test_the_largest_face_alone(folder: Path, astronaut: Photo) -> None:
    pixels = np.concatenate((astronaut.pixels, np.zeros_like(astronaut.pixels)), 1)
    pixels[:256, 600:856] = np.asarray(Image.fromarray(astronaut.pixels).resize((256, 256)))
    Image.fromarray(pixels).save(folder / "both.png")
    wish = ["--method", "perceptface", "--preset", "natural", "--seed", 2, "--faces", "largest", "--keep-missed"]
    secret = ("--password-file", folder / "password", "--json")
    _, (line,) = run("protect", folder / "both.png", "--out", folder / "out", *wish, *secret)
    assert len(line["report"]["variants"][0]) == 1
    made = np.asarray(Image.open(folder / "out" / "both.png"))
    assert (made[:, 512:] == pixels[:, 512:]).all()
    assert (made[:, :512] != pixels[:, :512]).any()


def test_the_version_is_told() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout.startswith("sider ")


def test_nothing_is_overwritten_by_accident(folder: Path, astronaut: Photo) -> None:
    source = folder / "in" / "deep" / "her.png"
    Image.fromarray(astronaut.pixels).save(source)
    before = source.read_bytes()
    secret = ("--password-file", folder / "password", "--json")
    quick = (*secret, "--preset", "natural")
    for more in ((), ("--overwrite",)):
        code, lines = run("protect", source, "--out", source.parent, *quick, *more)
        assert (code, lines[0]["error"]["code"], source.read_bytes()) == (1, "file_exists", before)
    out = folder / "out"
    out.mkdir()
    (out / "her.key").write_bytes(b"the only way back")
    assert run("protect", source, "--out", out, *quick)[1][0]["error"]["code"] == "file_exists"
    assert (out / "her.key").read_bytes() == b"the only way back"
    assert run("protect", source, "--out", out, *quick, "--overwrite")[0] == 0
    code, lines = run("restore", out / "her.png", "--out", out, *secret, "--overwrite")
    assert (code, lines[0]["error"]["code"]) == (1, "file_exists")  # no real face where protected ones are kept


def test_an_unreadable_password_file_is_named(folder: Path) -> None:
    arguments = ["protect", str(folder / "in"), "--out", str(folder / "out"), "--password-file", str(folder / "no")]
    assert "password file" in str(CliRunner().invoke(app, arguments).exception)


def test_keys_need_a_service(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["keys", "issue", "bank", "--scope", "protect", "--data", str(tmp_path)])
    assert "sider up" in str(result.exception)
    assert not list(tmp_path.iterdir())


def test_two_photos_of_one_name_are_refused(folder: Path) -> None:
    (folder / "in" / "deep" / "her.png").write_bytes(b"")
    result = CliRunner().invoke(
        app,
        ["protect", str(folder / "in"), "--out", str(folder), "--password-file", str(folder / "password")],
    )
    assert isinstance(result.exception, RequestRefused)
