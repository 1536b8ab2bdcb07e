"""The command line of operators, in process: keys, schema, webhooks, audit, keyring, doctor."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, inspect
from typer.testing import CliRunner

from core.errors import RequestRefused
from core.jobs import database
from core.jobs.audit import Audit
from core.jobs.heads import Heads
from core.jobs.tables import AuditEntry
from core.jobs.webhooks import Webhooks
from core.vault.keyring import Keyring
from core.vault.shelf import Shelf
from sider.command import app
from tests.fakes import MemoryBlobs
from tests.test_command import run


def test_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIDER_DATABASE_URL", f"sqlite:///{tmp_path / 'x.db'}")
    issued = CliRunner().invoke(app, ["keys", "issue", "bank", "--scope", "protect"]).stdout.strip()
    assert issued.startswith("sdr_")
    key_id = issued.split("_")[1]
    assert key_id in CliRunner().invoke(app, ["keys", "list"]).stdout
    assert CliRunner().invoke(app, ["keys", "revoke", key_id]).exit_code == 0
    assert "revoked" in CliRunner().invoke(app, ["keys", "list"]).stdout
    CliRunner().invoke(app, ["keys", "issue", "bank", "--scope", "protect", "--days", "3"])
    until = f"until {database.now() + timedelta(days=3):%Y-%m-%d}"
    assert until in CliRunner().invoke(app, ["keys", "list"], env={"COLUMNS": "200"}).stdout


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
    for other in (["--tenant", "rival"], ["--subject", "pho_1"]):
        assert CliRunner().invoke(app, ["audit", "list", *other]).stdout == ""
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
    replace(store.keyring, created={1: "2020-01-01T00:00:00+00:00"})._save()  # how old the version itself is counts not
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
