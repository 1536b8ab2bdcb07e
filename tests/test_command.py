"""The command line, in process."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import delete, inspect
from typer.testing import CliRunner

from core.errors import RequestRefused
from core.jobs import database
from core.jobs.audit import Audit
from core.jobs.heads import Heads
from core.jobs.tables import AuditEntry
from core.jobs.webhooks import Webhooks
from core.networks.personas import MIRRORED
from core.stages.validate import Photo
from core.vault import passwords
from core.vault.envelope import seal
from core.vault.keyring import Keyring
from core.vault.shelf import Shelf
from sider.command import app
from sider.local import BINDING
from tests.fakes import MemoryBlobs

PASSWORD = "correct horse battery"


@pytest.fixture
def folder(tmp_path: Path, astronaut: Photo, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIDER_KEYRING_FILE", str(tmp_path / "ring" / "keyring.json"))
    (tmp_path / "in" / "deep").mkdir(parents=True)
    Image.fromarray(astronaut.pixels).save(tmp_path / "in" / "deep" / "her.jpg", quality=95)
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
        code, lines = run("restore", folder / "out" / "deep" / name, "--out", folder / "back", *secret)
        assert code == 0
        stem = name.removesuffix(".png")
        with (
            Image.open(folder / "back" / f"{stem}.png") as back,
            Image.open(folder / "in/deep/her.jpg") as source,
        ):
            assert np.array_equal(np.asarray(back), np.asarray(source))

    (folder / "password").write_text("wrong horse battery\n")
    code, lines = run("restore", folder / "out" / "deep" / "her.png", "--out", folder / "no", *secret)
    assert (code, lines[0]["error"]["code"]) == (1, "restore_denied")
    assert str(folder / "ring" / "keyring.json") in lines[0]["error"]["message"]
    assert not (folder / "no" / "her.png").exists()


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
    )
    code, lines = run(*args, "--out", folder / "a")
    assert (code, lines[0]["error"]["code"], lines[0]["held"]) == (1, "promise_not_met", False)
    assert not list(folder.glob("a/**/*.png"))
    code, _ = run(*args, "--out", folder / "b", "--keep-missed")
    assert code == 1
    assert list(folder.glob("b/**/*.png"))


def test_one_new_identity_a_person(folder: Path, astronaut: Photo) -> None:
    her = folder / "in" / "deep" / "her.jpg"
    asked = ("--method", "id2face", "--consistent", "--presentation", "masculine", "--json", "--out", folder / "out")
    secret = ("--password-file", folder / "password")
    _, [first] = run("protect", folder / "in" / "deep", *asked, *secret)
    Image.fromarray((astronaut.pixels * 0.8).astype(np.uint8)).save(her.with_name("dark.png"))
    _, lines = run("protect", folder / "in" / "deep", *asked, *secret)
    worn = (line["report"]["variants"][0][0]["persona"] for line in (first, *lines))
    given = {persona.removesuffix(MIRRORED) for persona in worn}
    assert len(lines) == 2
    assert len(given) == 1
    assert first["report"]["presentation"] == "masculine"


@pytest.mark.parametrize(
    ("wish", "why"),
    [
        (["--method", "sider", "--consistent"], "does not take 'personas'"),
        (["--method", "cloak", "--presentation", "any"], "does not take 'presentation'"),
        (["--method", "id2face", "--consistent", "--variants", "2"], "with one variant"),
        (["--method", "id2face", "--consistent", "--server", "http://localhost"], "on this machine only"),
    ],
)
def test_what_a_method_or_a_service_cannot_do_is_refused(folder: Path, wish: list[str], why: str) -> None:
    secret = ["--password-file", str(folder / "password")]
    result = CliRunner().invoke(app, ["protect", str(folder / "in"), "--out", str(folder / "out"), *wish, *secret])
    assert isinstance(result.exception, RequestRefused)
    assert why in str(result.exception)


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


def test_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIDER_DATABASE_URL", f"sqlite:///{tmp_path / 'x.db'}")
    issued = CliRunner().invoke(app, ["keys", "issue", "bank", "--scope", "protect"]).stdout.strip()
    assert issued.startswith("sdr_")
    key_id = issued.split("_")[1]
    assert key_id in CliRunner().invoke(app, ["keys", "list"]).stdout
    assert CliRunner().invoke(app, ["keys", "revoke", key_id]).exit_code == 0
    assert "revoked" in CliRunner().invoke(app, ["keys", "list"]).stdout


def test_migrate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'x.db'}"
    monkeypatch.setenv("SIDER_DATABASE_URL", url)
    assert CliRunner().invoke(app, ["migrate"]).exit_code == 0
    engine = database.connect(url)
    assert "jobs" in inspect(engine).get_table_names()
    engine.dispose()


def test_webhook_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIDER_DATABASE_URL", f"sqlite:///{tmp_path / 'x.db'}")
    monkeypatch.setenv("SIDER_KEYRING_FILE", str(tmp_path / "keyring.json"))
    make = ["webhooks", "secret", "bank"]
    assert "keyring" in str(CliRunner().invoke(app, make).exception)  # it would be sealed by a ring nobody has
    ring = Keyring.open_or_create(tmp_path / "keyring.json")
    secret = CliRunner().invoke(app, make).stdout.strip().removeprefix("whsec_")
    engine = database.connect(f"sqlite:///{tmp_path / 'x.db'}")
    assert Webhooks(engine).secrets("bank", ring) == [base64.b64decode(secret)]
    engine.dispose()
    assert isinstance(CliRunner().invoke(app, ["webhooks", "secret", "B/k"]).exception, RequestRefused)


def test_audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url, store = f"sqlite:///{tmp_path / 'x.db'}", MemoryBlobs()
    monkeypatch.setenv("SIDER_DATABASE_URL", url)
    monkeypatch.setenv("SIDER_KEYRING_FILE", str(tmp_path / "k.json"))
    monkeypatch.setattr("sider.audit.bucket", lambda settings, name: store)
    CliRunner().invoke(app, ["keys", "issue", "bank", "--scope", "protect", "--name", "[red]mobile\x9b app"])
    engine = database.connect(url)
    Heads(Audit(engine), store, Keyring.open_or_create(tmp_path / "k.json"), seconds=60).anchor()
    [shown] = CliRunner().invoke(app, ["audit", "list", "--tenant", "bank"]).stdout.splitlines()
    assert "api_key issued operator bank" in shown
    assert 'name="[red]mobile\\u009b app"' in shown
    code, [entry] = run("audit", "list", "--json")
    assert (code, entry["seq"], entry["event"]) == (0, 1, "api_key")
    assert run("audit", "verify", "--json") == (0, [{"entries": 1, "heads": 1, "unsigned": 0, "faults": []}])
    with engine.begin() as connection:
        connection.execute(delete(AuditEntry))
    engine.dispose()
    result = CliRunner().invoke(app, ["audit", "verify"])
    assert result.exit_code == 1
    assert "entry 1 is missing" in result.stderr


def test_keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Shelf(MemoryBlobs(), MemoryBlobs(), Keyring.open_or_create(tmp_path / "k.json"))
    url = f"sqlite:///{tmp_path / 'x.db'}"
    monkeypatch.setenv("SIDER_DATABASE_URL", url)
    monkeypatch.setenv("SIDER_KEYRING_FILE", str(tmp_path / "k.json"))
    monkeypatch.setattr("core.vault.shelf.connect", lambda settings: replace(store, keyring=store.keyring.latest()))
    store.put_upload("bank", "job_1", b"photo")
    webhook_secret = CliRunner().invoke(app, ["webhooks", "secret", "bank"]).stdout.strip()

    def keyring(*words: str) -> Any:
        return CliRunner().invoke(app, ["keyring", *words])

    assert "version 2 seals from now on" in keyring("rotate").stderr
    assert "may be in use" in str(keyring("retire", "1").exception)
    monkeypatch.setattr("sider.keyring.SETTLED_SECONDS", 0.0)
    assert "job_1 still needs version 1" in str(keyring("retire", "1").exception)
    assert "2 items, 2 moved to version 2" in keyring("rewrap").stderr
    store.keys.put("bank/restoration/pho_1", b"nonsense")
    damaged = keyring("rewrap")
    assert (damaged.exit_code, "pho_1" in damaged.stderr) == (1, True)
    store.keys.delete("bank/restoration/pho_1")
    assert keyring("retire", "1").exit_code == 0
    assert list(Keyring.open(tmp_path / "k.json").keys) == [2]
    assert "version 3 seals in 10 minutes" in keyring("rotate", "--after", "10").stderr
    shown = CliRunner().invoke(app, ["keyring", "list"], env={"COLUMNS": "200"}).stdout
    assert [word in shown for word in ("retired", "seals and opens", "opens, will seal")] == [True] * 3
    assert store.get_upload("bank", "job_1") == b"photo"
    engine = database.connect(url)
    [secret] = Webhooks(engine).secrets("bank", Keyring.open(tmp_path / "k.json"))
    assert "whsec_" + base64.b64encode(secret).decode() == webhook_secret
    told = [
        (e.outcome, e.subject) for e in Audit(engine).latest(99) if e.event == "keyring" and e.outcome != "accepted"
    ]
    engine.dispose()
    assert told == [
        ("rotated", "2"),
        ("state_conflict", "1"),
        *[("rewrapped", "2")] * 2,
        ("retired", "1"),
        ("rotated", "3"),
    ]


def test_doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = CliRunner().invoke(app, ["doctor"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert "every file matches its sha256" in result.stdout
    broken = CliRunner().invoke(app, ["doctor"], env={"COLUMNS": "200", "SIDER_BUNDLE": str(tmp_path)})
    assert broken.exit_code == 1
    assert "configuration_error" in broken.stdout
