"""Rotation and rewrap of a store in use: everything opens before, during and after."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import NotFound, StateConflict, Unavailable
from core.vault import rewrap
from core.vault.custody import Custody
from core.vault.envelope import key_version
from core.vault.keyring import Keyring
from core.vault.passwords import KdfCost, lock
from core.vault.rewrap import Progress, Rewrapped
from core.vault.shelf import Shelf
from tests.fakes import MemoryBlobs

LOCK = lock("correct horse", KdfCost(1, 64, 1))
ITEMS = 8  # five restoration keys, a job's secret and two uploads


class Meddled(MemoryBlobs):
    """Calls `between` once, after an item was read and before it is written."""

    between: Callable[[str], None] | None = None

    def replace(self, key: str, data: bytes, tag: str) -> bool:
        if self.between:
            self.between, act = None, self.between
            act(key)
        return super().replace(key, data, tag)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    shelf = Shelf(MemoryBlobs(), Meddled(), Keyring.open_or_create(tmp_path / "k.json"))
    for number in range(5):
        shelf.put_restoration("bank", f"pho_{number}", b"pixels %d" % number, LOCK)
    shelf.put_secret("bank", "job_1", LOCK)
    shelf.put_upload("bank", "job_1", b"photo")
    shelf.put_upload("rival", "job_2", b"photo")
    shelf.put_protected("bank", "pho_0", 1, b"not sealed")
    shelf.keyring.rotate()
    return shelf


def silent(done: int, total: int) -> None:
    assert done <= total


def rewrap_all(shelf: Shelf, progress: Progress) -> Rewrapped:
    return rewrap.rewrap_all(list(shelf.items()), shelf.keyring.latest(), progress)


def check_unused(shelf: Shelf, version: int, progress: Progress) -> None:
    rewrap.check_unused(list(shelf.items()), version, progress)


def versions(shelf: Shelf) -> list[int | None]:
    return [key_version(item.store.get_tagged(item.key)[0]) for item in shelf.items()]


def assert_all_open(shelf: Shelf) -> None:
    for number in range(5):
        assert shelf.get_restoration("bank", f"pho_{number}", LOCK.key) == b"pixels %d" % number
    assert shelf.get_secret("bank", "job_1") == LOCK
    assert shelf.get_upload("rival", "job_2") == b"photo"


def test_everything_opens_before_and_after_and_the_old_key_may_go(shelf: Shelf) -> None:
    assert versions(shelf) == [1] * ITEMS
    assert_all_open(shelf)
    with pytest.raises(StateConflict, match="still needs version 1"):
        check_unused(shelf, 1, silent)
    assert rewrap_all(shelf, silent) == Rewrapped(items=ITEMS, moved=ITEMS)
    assert versions(shelf) == [2] * ITEMS
    assert rewrap_all(shelf, silent) == Rewrapped(items=ITEMS, moved=0)
    check_unused(shelf, 1, silent)
    shelf.keyring.retire(1)
    assert_all_open(shelf)
    assert shelf.photos.get("bank/protected/pho_0/v1.png") == b"not sealed"


@pytest.mark.parametrize("after", range(1, ITEMS))
def test_interrupted_anywhere_nothing_is_lost_and_the_rest_is_done_later(shelf: Shelf, after: int) -> None:
    def die(done: int, total: int) -> None:
        if done == after:
            raise Unavailable("the store went away")

    with pytest.raises(Unavailable):
        rewrap_all(shelf, die)
    assert versions(shelf).count(2) == after
    assert_all_open(shelf)
    assert rewrap_all(shelf, silent).moved == ITEMS - after
    assert_all_open(shelf)


def test_a_key_destroyed_meanwhile_stays_destroyed(shelf: Shelf) -> None:
    assert isinstance(shelf.keys, Meddled)
    shelf.keys.between = lambda key: shelf.drop_restoration("bank", "pho_0")
    assert rewrap_all(shelf, silent) == Rewrapped(items=ITEMS, moved=ITEMS - 1)
    with pytest.raises(NotFound):
        shelf.get_restoration("bank", "pho_0", LOCK.key)


def test_a_key_replaced_meanwhile_is_the_new_one(shelf: Shelf) -> None:
    """By a worker that repeats a job, on a machine that does not know of the rotation yet."""
    assert isinstance(shelf.keys, Meddled)
    old = Keyring(Path("unknown"), {1: shelf.keyring.keys[1]}, shelf.keyring.created)
    behind = Shelf(shelf.photos, shelf.keys, old)
    shelf.keys.between = lambda key: behind.put_restoration("bank", "pho_0", b"newer", LOCK)
    assert rewrap_all(shelf, silent).moved == ITEMS
    assert shelf.get_restoration("bank", "pho_0", LOCK.key) == b"newer"
    assert versions(shelf) == [2] * ITEMS


def test_a_damaged_item_is_named_and_left_alone(shelf: Shelf) -> None:
    name = "bank/restoration/pho_3"
    shelf.keys.put(name, b"nonsense")
    assert rewrap_all(shelf, silent) == Rewrapped(items=ITEMS, moved=ITEMS - 1, broken=[name])
    assert shelf.keys.get(name) == b"nonsense"
    with pytest.raises(StateConflict, match="pho_3 is damaged"):
        check_unused(shelf, 1, silent)


def test_another_tenants_item_in_ones_place_is_not_rewrapped(shelf: Shelf) -> None:
    shelf.keys.put("rival/restoration/pho_0", shelf.keys.get("bank/restoration/pho_0"))
    assert rewrap_all(shelf, silent).broken == ["rival/restoration/pho_0"]


def test_what_the_caller_keeps_needs_no_rewrap_and_no_keyring(shelf: Shelf) -> None:
    shelf.put_restoration("bank", "pho_9", b"pixels", LOCK, Custody.CALLER)
    shelf.put_restoration("bank", "pho_8", b"pixels", None, Custody.SERVER)
    before = shelf.keys.get("bank/restoration/pho_9")
    assert rewrap_all(shelf, silent) == Rewrapped(items=ITEMS + 2, moved=ITEMS)
    check_unused(shelf, 1, silent)
    assert shelf.keys.get("bank/restoration/pho_9") == before
