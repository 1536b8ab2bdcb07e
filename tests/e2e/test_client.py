"""The client, the command line with --server and the examples, against the real service."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from core.stages.validate import Photo
from deploy.local import LocalStack
from sider.client import Client, PhotoRefused
from sider.command import app
from tests.e2e.test_service import noise

pytestmark = pytest.mark.e2e
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def service(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> LocalStack:
    monkeypatch.setenv("SIDER_SERVER", stack.api_url)
    monkeypatch.setenv("SIDER_API_KEY", stack.api_key)
    return stack


def run(*args: Any) -> tuple[int, list[dict[str, Any]]]:
    result = CliRunner().invoke(app, [str(a) for a in args])
    return result.exit_code, [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


def test_a_folder_there_and_back_by_the_service(
    service: LocalStack, photo: Path, astronaut: Photo, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "her.png").write_bytes(photo.read_bytes())
    (tmp_path / "in" / "nobody.png").write_bytes(noise())
    (tmp_path / "pw").write_text("correct horse battery\n")
    secret = ("--password-file", tmp_path / "pw", "--json")
    arguments = ("protect", tmp_path / "in", "--out", tmp_path / "out", "--preset", "natural", *secret)
    code, lines = run(*arguments, "--contact-sheet", tmp_path / "sheet.html")
    by_name = {Path(line["file"]).stem: line for line in lines}
    assert (code, by_name["nobody"]["error"]["code"]) == (1, "no_face_found")
    assert by_name["her"]["held"]
    assert (tmp_path / "sheet.html").read_text().count("<img ") == 1
    _, lines = run(*arguments)
    assert [line.get("before") for line in lines if "error" not in line] == [True]

    picture = tmp_path / "out" / "her.png"
    assert run("verify", picture)[0] == 0
    assert run("verify", tmp_path / "in" / "her.png")[0] == 1
    restore = ("restore", picture, "--out", tmp_path / "back", *secret, "--reason")
    assert run(*restore, "no")[1][0]["error"]["code"] == "request_invalid"  # too short a reason
    code, [line] = run(*restore, "end-to-end test")
    assert (code, line["exact"], line["sha256"]) == (0, True, astronaut.sha256)
    with Image.open(tmp_path / "back" / "her.png") as back:
        assert back.tobytes() == astronaut.pixels.tobytes()
    assert run("erase", picture, "--yes")[0] == 0
    assert run("erase", by_name["her"]["photo_id"], "--yes", "--json")[1][0]["error"]["code"] == "not_found"


def test_without_a_key_nothing_is_sent(service: LocalStack, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SIDER_API_KEY")
    result = CliRunner().invoke(app, ["verify", str(photo)])
    assert "--key-file" in str(result.exception)


def test_refused_at_the_door(service: LocalStack) -> None:
    with Client(service.api_url, service.api_key) as client, pytest.raises(PhotoRefused) as caught:
        client.protect(b"\xff\xd8\xff garbage")
    assert caught.value.code == "photo_damaged"


def example(name: str, *args: Any) -> str:
    env = os.environ | {"BANK_PASSWORD": "a password of the bank"}
    argv = [sys.executable, str(EXAMPLES / f"{name}.py"), *map(str, args)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=env, cwd=EXAMPLES.parent)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_example_there_and_back(service: LocalStack, photo: Path, astronaut: Photo, tmp_path: Path) -> None:
    assert "100%" in example("there_and_back", photo, tmp_path)
    with Image.open(tmp_path / "restored.png") as back, Image.open(tmp_path / "protected.png") as protected:
        assert back.tobytes() == astronaut.pixels.tobytes() != protected.tobytes()


def test_example_many_at_once(service: LocalStack, photo: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.png").write_bytes(photo.read_bytes())
    (tmp_path / "noise.png").write_bytes(noise())
    (tmp_path / "out").mkdir()
    told = example("many_at_once", tmp_path, tmp_path / "out")
    assert "noise.png: no_face_found" in told
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one.png", "two.png"]
    for name in ("one", "two"):
        (tmp_path / f"{name}.png").unlink()
    assert "noise.png: no_face_found" in example("many_at_once", tmp_path, tmp_path / "out")  # alone


def test_example_bank(service: LocalStack, photo: Path, astronaut: Photo, tmp_path: Path) -> None:
    example("bank", photo, tmp_path)
    with Image.open(tmp_path / "original.png") as back:
        assert back.tobytes() == astronaut.pixels.tobytes()
    assert not (tmp_path / "4711.png").exists()
