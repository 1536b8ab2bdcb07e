"""What stays of an ended job in the store, and what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.jobs import database
from core.jobs.leftovers import clear
from core.jobs.states import State
from core.jobs.tables import Job
from core.vault.custody import Custody
from core.vault.keyring import Keyring
from core.vault.shelf import Shelf
from tests.fakes import MemoryBlobs


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(MemoryBlobs(), MemoryBlobs(), Keyring.open_or_create(tmp_path / "k.json"))


def succeeded(**values: Any) -> Job:
    return Job(
        id="job_1", tenant="bank", photo_id="pho_1", state=State.succeeded, request={"variants": 1}, result={}, **values
    )


def test_what_an_older_release_has_made_stays(shelf: Shelf) -> None:
    """Its runs named their objects by the photo alone."""
    shelf.put_restoration("bank", "pho_1", b"pixels", None, Custody.SERVER)
    shelf.put_protected("bank", "pho_1", 1, b"picture")
    clear(succeeded(kind="protect", attempt=1), shelf)
    assert shelf.get_restoration("bank", "pho_1", None, Custody.SERVER) == b"pixels"
    assert shelf.get_protected("bank", "pho_1", 1) == b"picture"


@pytest.mark.parametrize("withdrawn", [False, True])
def test_an_original_stays_until_it_is_withdrawn(shelf: Shelf, withdrawn: bool) -> None:
    """Also one that was stored after that, by a worker that was slow."""
    shelf.put_restored("bank", "job_1", b"original")
    clear(succeeded(kind="restore", withdrawn_at=database.now() if withdrawn else None), shelf)
    assert list(shelf.photos.names()) == ([] if withdrawn else ["bank/restored/job_1.png"])
