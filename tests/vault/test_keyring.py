from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import ConfigurationError
from core.vault.keyring import Keyring


def test_created_once_private_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "keyring.json"
    ring = Keyring.open_or_create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert Keyring.open_or_create(path).keys == ring.keys
    assert ring.keys[1].hex() not in repr(ring)


def test_rotation_keeps_old_keys(tmp_path: Path) -> None:
    ring = Keyring.open_or_create(tmp_path / "k.json")
    ring.rotated().save()
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


def test_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "k.json"
    Keyring.open_or_create(path)
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        Keyring.open(path)
