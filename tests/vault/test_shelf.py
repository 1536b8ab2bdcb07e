"""What is sealed by a keyring that this process does not know, and what goes first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import RestoreDenied, Unavailable
from core.vault.keyring import Keyring
from core.vault.passwords import KdfCost, lock
from core.vault.shelf import Shelf
from tests.fakes import MemoryBlobs


def test_a_version_that_has_not_come_here_yet_is_waited_for(tmp_path: Path) -> None:
    ring = Keyring.open_or_create(tmp_path / "ours.json")
    theirs = tmp_path / "theirs.json"
    theirs.touch(mode=0o600)
    theirs.write_bytes(ring.path.read_bytes())
    rotated = Keyring.open(theirs).rotate()
    shelf = Shelf(MemoryBlobs(), MemoryBlobs(), ring)
    replace(shelf, keyring=rotated).put_upload("bank", "job_1", b"photo")
    with pytest.raises(Unavailable, match="version 2"):
        shelf.get_upload("bank", "job_1")
    ring.path.write_bytes(theirs.read_bytes())
    assert shelf.get_upload("bank", "job_1") == b"photo"


def test_a_version_that_was_retired_is_gone_for_good(tmp_path: Path) -> None:
    ring = Keyring.open_or_create(tmp_path / "k.json")
    shelf = Shelf(MemoryBlobs(), MemoryBlobs(), ring)
    shelf.put_upload("bank", "job_1", b"photo")
    ring.rotate()
    ring.retire(1)
    with pytest.raises(RestoreDenied):
        shelf.get_upload("bank", "job_1")


def test_a_jobs_secret_goes_even_if_its_upload_cannot(tmp_path: Path) -> None:
    photos, keys = MemoryBlobs(), MemoryBlobs()
    shelf = Shelf(photos, keys, Keyring.open_or_create(tmp_path / "k.json"))
    shelf.put_upload("bank", "job_1", b"photo")
    shelf.put_secret("bank", "job_1", lock("correct horse", KdfCost(1, 64, 1)))
    photos.down = True
    with pytest.raises(Unavailable):
        shelf.drop_job("bank", "job_1")
    assert not keys.objects
