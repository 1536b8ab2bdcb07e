"""What the command line calls done is on the disk: power may fail at any moment."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import httpx2
import pytest

from core.vault.durable import make_folder, sync_folder
from core.vault.keyring import Keyring
from sider.client import Client
from sider.files import write_file
from sider.runs import JOURNAL, Journal
from tests.client.scripted import PICTURE, Service, photo_view, stored
from tests.client.test_remote import restored
from tests.fakes import picture
from tests.test_runs import Fake, protect


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked of the disk, in order."""
    asked: list[str] = []
    replace, fsync = Path.replace, os.fsync

    def renamed(self: Path, target: Path) -> Path:
        asked.append(f"name {target.name}")
        return replace(self, target)

    def synced(handle: int) -> None:
        found = os.fstat(handle)
        path = Path(f"/proc/self/fd/{handle}").readlink()
        asked.append(f"sync {path.name}/" if stat.S_ISDIR(found.st_mode) else f"sync {found.st_size}")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    return asked


def test_a_file_has_its_bytes_before_it_has_its_name(tmp_path: Path, steps: list[str]) -> None:
    write_file(tmp_path / "a.key", b"a key")
    assert steps == ["sync 5", "name a.key", f"sync {tmp_path.name}/"]


def test_a_picture_that_was_fetched_is_no_less_durable(tmp_path: Path, steps: list[str]) -> None:
    """The journal tells of it, and so the run after a crash leaves it alone."""
    service = Service(photo_view(1), stored(PICTURE))
    with Client("http://sider.test", "sdr_key", transport=httpx2.MockTransport(service)) as client:
        client.download("pho_1", tmp_path / "a.png")
    assert steps == [f"sync {len(PICTURE)}", "name a.png", f"sync {tmp_path.name}/"]


def test_an_entry_of_the_journal_is_there_before_what_it_tells_of(tmp_path: Path, steps: list[str]) -> None:
    Journal(tmp_path).note("a.jpg", {"attempt": "1"})
    size = (tmp_path / JOURNAL).stat().st_size
    assert steps == [f"sync {size}", f"sync {tmp_path.name}/"]
    Journal(tmp_path).note("a.jpg", {"attempt": "1"})
    assert steps[2:] == [f"sync {2 * size}"]  # it has its name


def test_an_original_whose_only_link_is_used_up_is_no_less_durable(tmp_path: Path, steps: list[str]) -> None:
    restored(tmp_path, picture(), picture().to_png())
    assert steps[-2:] == ["name back.png", f"sync {tmp_path.name}/"]


def test_a_folder_is_there_with_what_it_is_in(tmp_path: Path, steps: list[str]) -> None:
    for _ in range(2):
        make_folder(tmp_path / "out" / "deep")
    assert sorted(steps) == sorted([f"sync {tmp_path.name}/", "sync out/"])


def test_folders_of_a_run_are_there_before_anything_in_them(tmp_path: Path, steps: list[str]) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "a.png").write_bytes(picture().to_png())
    protect(tmp_path, Fake())
    assert steps[:2] == [f"sync {tmp_path.name}/", "sync out/"]


def test_a_first_keyring_is_there_with_its_folder(tmp_path: Path, steps: list[str]) -> None:
    Keyring.open_or_create(tmp_path / "sider" / "keyring.json")
    assert steps[0] == f"sync {tmp_path.name}/"
    assert steps[2:] == ["name keyring.json", "sync sider/"]


@pytest.mark.parametrize(("call", "error"), [("open", errno.EACCES), ("fsync", errno.EINVAL)])
def test_a_folder_that_cannot_be_synced_keeps_nothing_from_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: int
) -> None:
    """As on Windows and on some network shares."""
    asked = getattr(os, call)

    def refused(what: Any, *more: Any) -> Any:
        if stat.S_ISDIR(os.stat(what).st_mode):  # noqa: PTH116 - a path or a handle
            raise OSError(error, os.strerror(error))
        return asked(what, *more)

    monkeypatch.setattr(os, call, refused)
    write_file(tmp_path / "a.key", b"a key")
    assert (tmp_path / "a.key").read_bytes() == b"a key"


def test_but_a_disk_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failed(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", failed)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        sync_folder(tmp_path)
