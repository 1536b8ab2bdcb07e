from __future__ import annotations

import base64
import errno
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature

from core.errors import ConfigurationError, StateConflict
from core.vault import provenance
from core.vault.keyring import Keyring


def test_created_once_private_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "keyring.json"
    ring = Keyring.open_or_create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert Keyring.open_or_create(path).keys == ring.keys
    assert ring.keys[1].hex() not in repr(ring)


def test_a_write_that_fails_leaves_no_key_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "k.json"
    ring = Keyring.open_or_create(path)
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        ring.rotate()
    assert path.read_bytes() == before
    assert {file.name for file in tmp_path.iterdir()} == {"k.json", "k.lock"}


def test_a_rotated_ring_is_under_its_name_when_the_power_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Items may be sealed by the new key at once: its folder is written out after the file has its name."""
    path, synced, sync = tmp_path / "k.json", list[tuple[bool, int]](), os.fsync
    ring = Keyring.open_or_create(path)

    def seen(handle: int) -> None:
        synced.append((stat.S_ISDIR(os.fstat(handle).st_mode), Keyring.open(path).current))
        sync(handle)

    monkeypatch.setattr(os, "fsync", seen)
    ring.rotate()
    assert synced == [(False, 1), (True, 2)]


def test_rotation_keeps_old_keys(tmp_path: Path) -> None:
    ring = Keyring.open_or_create(tmp_path / "k.json")
    ring.rotate()
    again = Keyring.open(tmp_path / "k.json")
    assert again.current == 2
    assert again.keys[1] == ring.keys[1]


@pytest.mark.parametrize("text", ["", "{}", '{"keys": {}}', '{"keys": {"1": {"key": "AAAA", "created": ""}}}', "[1]"])
def test_broken_file_is_named_without_its_content(tmp_path: Path, text: str) -> None:
    path = tmp_path / "k.json"
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"k\.json"):
        Keyring.open(path)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620], ids=oct)
def test_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "k.json"
    Keyring.open_or_create(path)
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        Keyring.open(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs files of root")
def test_file_of_root_may_be_read_by_our_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "k.json"
    Keyring.open_or_create(path)
    monkeypatch.setattr(os, "geteuid", lambda: 10001)
    path.chmod(0o440)
    Keyring.open(path)
    path.chmod(0o444)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        Keyring.open(path)


def test_a_rotation_reaches_those_who_have_the_ring_open(tmp_path: Path) -> None:
    ring = Keyring.open_or_create(tmp_path / "k.json")
    ring.rotate()
    assert (ring.current, ring.latest().current) == (1, 2)


def test_a_file_that_is_away_takes_no_version_that_was_read(tmp_path: Path) -> None:
    ring = Keyring.open_or_create(tmp_path / "k.json")
    (tmp_path / "k.json").rename(tmp_path / "away")
    assert ring.latest() == ring
    (tmp_path / "away").rename(tmp_path / "k.json")
    ring.rotate()
    ring.latest()
    (tmp_path / "k.json").chmod(0o644)  # as a copy that was put back carelessly
    assert ring.latest().current == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_that_is_changed_stays_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "k.json"
    ring = Keyring.open_or_create(path)
    os.chown(path, 10001, 10002)
    path.chmod(0o400)
    ring.rotate()
    found = path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (10001, 10002, 0o400)


def test_whoever_may_not_give_it_to_its_owner_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: int) -> None:
        raise PermissionError

    path = tmp_path / "k.json"
    ring = Keyring.open_or_create(path)
    before = path.read_bytes()
    monkeypatch.setattr(os, "fchown", refused)
    with pytest.raises(ConfigurationError, match="another user's"):
        ring.rotate()
    assert path.read_bytes() == before
    assert {file.name for file in tmp_path.iterdir()} == {"k.json", "k.lock"}


def test_many_may_create_and_rotate_at_once(tmp_path: Path) -> None:
    path = tmp_path / "k.json"
    with ThreadPoolExecutor(8) as pool:
        rings = list(pool.map(lambda _: Keyring.open_or_create(path), range(8)))
        assert len({ring.keys[1] for ring in rings}) == 1
        list(pool.map(lambda ring: ring.rotate(), rings))
    assert list(Keyring.open(path).keys) == list(range(1, 10))
    assert Keyring.open(path).keys[1] == rings[0].keys[1]


def test_a_retired_key_is_gone_but_verifies(tmp_path: Path) -> None:
    ring = Keyring.open_or_create(tmp_path / "k.json")
    signature = ring.signing_key().sign(b"head")
    for version in (1, 7):
        with pytest.raises(StateConflict):
            ring.retire(version)
    ring.rotate()
    left = ring.retire(1)
    assert left.keys == Keyring.open(ring.path).keys
    assert list(left.keys) == [2]
    assert base64.b64encode(ring.keys[1]).decode() not in ring.path.read_text()
    left.verify_key(1).verify(signature, b"head")
    with pytest.raises(InvalidSignature):
        left.verify_key(2).verify(signature, b"head")


def test_what_is_derived_from_a_key_is_the_same_in_every_release() -> None:
    """Or no head that was signed before could be verified, and no picture that was made before be known again."""
    ring = Keyring(Path("unused"), {1: bytes(range(32))}, {1: "2026-01-01T00:00:00+00:00"})
    public = ring.verify_key(1).public_bytes_raw().hex()
    assert public == "ad9ca34b041495f071b73fbef62418ec040732d0628509256e895364943424c7"
    printed = provenance.fingerprint("ab" * 32, ring)
    assert printed == "3ce8e68809cd56d7246e6601140aa32b7c000922d664f10b000d8e0e55aa98cb"


def test_a_version_seals_when_its_time_has_come(tmp_path: Path) -> None:
    ring = Keyring.open_or_create(tmp_path / "k.json").rotate(delay=timedelta(minutes=10))
    assert (list(ring.keys), ring.current) == ([1, 2], 1)
    with pytest.raises(StateConflict):
        ring.retire(1)
    with pytest.raises(StateConflict):
        ring.retire(2)
    then = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    assert replace(ring, created={**ring.created, 2: then}).current == 2
    assert max(ring.rotate().keys) == 3


def test_a_folder_that_takes_no_file(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    ring = Keyring.open_or_create(path)
    path.with_suffix(".lock").unlink()
    path.with_suffix(".lock").mkdir()  # as a read-only folder: root may write everywhere
    for change in (ring.rotate, lambda: ring.retire(1), lambda: Keyring.open_or_create(tmp_path / "keys.new")):
        with pytest.raises(ConfigurationError, match="cannot be written to"):
            change()
    assert list(ring.latest().keys) == [1]
