"""The command line when something is missing: limits that have changed, a lost code, a database or a package away."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from core.errors import ConfigurationError, RequestRefused, Unavailable
from core.networks import facenet
from core.stages.validate import Photo
from core.vault.custody import Custody
from core.vault.envelope import seal
from core.vault.keyring import Keyring
from core.vault.restoration import Restoration
from sider import command, local
from sider.command import app
from sider.files import read_password
from sider.lines import report
from sider.runs import JOURNAL, OutcomeUnknown
from sider.sheet import write_sheet
from tests.fakes import picture


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIDER_KEYRING_FILE", str(tmp_path / "keyring.json"))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "her.png").write_bytes(picture().to_png())
    return tmp_path / "in" / "her.png"


def main(*args: Any) -> int:
    """The exit code of a command as the shell sees it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["sider", *map(str, args)])
        with pytest.raises(SystemExit) as ended:
            command.main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize(("height", "most"), [(96, "100"), (8200, "50000000")])
def test_a_picture_is_restored_and_shown_whatever_new_photos_may_have(
    photo: Path, monkeypatch: pytest.MonkeyPatch, height: int, most: str
) -> None:
    original, protected = Photo(np.zeros((height, 5000, 3), np.uint8)), Photo(np.zeros((height, 5000, 3), np.uint8))
    protected.pixels[:64, :64] = 255
    restoration = Restoration.of(original.pixels, [protected.pixels], [(0, 0, 64, 64)])
    photo.write_bytes(protected.to_png())
    ring = Keyring.open_or_create(photo.parents[1] / "keyring.json")
    photo.with_suffix(".key").write_bytes(seal(restoration.pack(), local.BINDING, ring, None))
    monkeypatch.setenv("SIDER_MAX_PIXELS", most)
    line = local.restore(photo, photo.with_name("back.png"), lambda: "")
    assert line["sha256"] == original.sha256
    write_sheet(photo.with_name("sheet.html"), [{"file": str(photo), "protected": [str(photo)]}], originals=False)
    assert "<img " in photo.with_name("sheet.html").read_text()


@pytest.mark.parametrize(
    ("picture_of", "key_of"), [("her.v2", "her.v2"), ("her.v2.v2", "her.v2"), ("her.v2", "her"), ("her.v16", "her")]
)
def test_the_key_of_a_picture_is_found_whatever_its_photo_was_called(photo: Path, picture_of: str, key_of: str) -> None:
    ring, protected = Keyring.open_or_create(photo.parents[1] / "keyring.json"), picture()
    sealed = seal(Restoration.of(protected.pixels, [protected.pixels], []).pack(), local.BINDING, ring, None)
    photo.with_name(f"{picture_of}.png").write_bytes(protected.to_png())
    if key_of == "her.v2":
        photo.with_name("her.key").write_bytes(b"of another photo")
    photo.with_name(f"{key_of}.key").write_bytes(sealed)
    line = local.restore(photo.with_name(f"{picture_of}.png"), photo.with_name("back.png"), lambda: "")
    assert line["sha256"] == protected.sha256


def protect(photo: Path, *more: str) -> tuple[BaseException | None, str]:
    asked = ["protect", str(photo.parent), "--out", str(photo.parents[1] / "out"), *more]
    result = CliRunner().invoke(app, asked)
    return result.exception, result.stderr


def test_no_second_restore_code_while_a_photo_is_under_the_first(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: Any) -> Any:
        raise OutcomeUnknown(Unavailable("away"))

    monkeypatch.setattr(local.Engine, "protect", lost)
    assert "restore code" in protect(photo)[1]
    error, said = protect(photo)
    assert isinstance(error, RequestRefused)
    assert "--password-file" in str(error)
    assert "restore code, shown" not in said
    (photo.parents[1] / "code").write_text("the code that was shown\n")
    for more in (["--password-file", str(photo.parents[1] / "code")], ["--overwrite"], ["--custody", Custody.SERVER]):
        assert isinstance(protect(photo, *more)[0], SystemExit)  # the photo's outcome is told in its line


@pytest.mark.parametrize(("new", "typed"), [(True, ["a slip", "right", "right", "right"]), (False, ["right"])])
def test_a_new_password_is_asked_for_twice(monkeypatch: pytest.MonkeyPatch, new: bool, typed: list[str]) -> None:
    """A slip of the finger would be the only key to the photos."""
    answers = list(typed)
    monkeypatch.setattr("getpass.getpass", lambda _: answers.pop(0))
    assert read_password(None, Console(force_terminal=True), new) == "right"
    assert answers == []


def test_the_first_line_of_a_password_file_is_the_password(tmp_path: Path) -> None:
    (tmp_path / "code").write_bytes(b"correct horse\r\nof the holiday photos\r\n")
    assert read_password(tmp_path / "code", Console(quiet=True)) == "correct horse"


def test_nothing_is_erased_by_who_does_not_mean_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sider.remote.connect", lambda *_: pytest.fail("the service was asked"))
    asked = ["erase", "a.png", "--server", "http://sider.test"]
    for said in ("n\n", "\n", ""):
        result = CliRunner().invoke(app, asked, input=said)
        assert (result.exit_code, "Erase 1 photo for good?" in result.stderr) == (1, True)


def test_a_refused_photo_is_under_no_code(photo: Path) -> None:
    photo.write_bytes(b"\xff\xd8\xff no photo")
    for _ in range(2):
        assert "restore code, shown" in protect(photo)[1]
    assert "attempt" not in (photo.parents[1] / "out" / JOURNAL).read_text().splitlines()[-1]


@pytest.mark.parametrize("url", ["sqlite:////no/such/folder/hunter2.db", "hunter2"])
def test_a_database_that_is_away_is_no_finding(
    photo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str
) -> None:
    Keyring.open_or_create(photo.parents[1] / "keyring.json")
    monkeypatch.setenv("SIDER_DATABASE_URL", url)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert main("audit", "verify", "--json") == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert said.err.startswith("database_unavailable: ")
    assert "hunter2" not in said.err


def test_a_file_that_cannot_be_written_is_told_in_a_line(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("protect", photo, "--out", photo, "--custody", "server", "--preset", "natural") == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert str(photo) in said.splitlines()[-1]


def test_a_mistake_of_ours_is_no_finding(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(command, "app", lambda: 1 // 0)
    assert main() == 2
    assert "ZeroDivisionError" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["torch", "core.networks"])
def test_the_doctor_tells_what_is_missing(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.delitem(sys.modules, "sider.doctor", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)  # type: ignore[arg-type]
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1.0" if name != "torchvision" else _gone(name))
    result = CliRunner().invoke(app, ["doctor"], env={"COLUMNS": "200"})
    assert result.exit_code == 1
    assert "ModuleNotFoundError" in result.stdout
    assert "pip install 'sider[worker,api]'" in result.stdout
    monkeypatch.setitem(sys.modules, "core.networks", None)  # type: ignore[arg-type]
    fetched = CliRunner().invoke(app, ["doctor", "--download", "facenet-casia"])
    assert isinstance(fetched.exception, ConfigurationError)


def _gone(name: str) -> str:
    from importlib.metadata import PackageNotFoundError

    raise PackageNotFoundError(name)


def test_the_doctor_fetches_what_there_is() -> None:
    result = CliRunner().invoke(app, ["doctor", "--download", "facenet"])
    assert isinstance(result.exception, RequestRefused)
    assert all(name in str(result.exception) for name in facenet.FILES)


def test_names_are_told_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """Square brackets would be markup, and some of it an error."""
    for line in ({"erased": "[/b].jpg"}, {"file": "[red]a.jpg", "error": {"code": "photo_empty", "message": "[b]"}}):
        report(Console(width=200), as_json=False, line=line)
    assert capsys.readouterr().out == "erased [/b].jpg\nphoto_empty [red]a.jpg: [b]\n"
