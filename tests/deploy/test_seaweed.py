"""SeaweedFS after its disk was full."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import pytest

from core.errors import Unavailable
from core.vault.blobs import Blobs
from core.vault.shelf import bucket
from deploy.local import LocalStack

pytestmark = pytest.mark.e2e
TORN = 14  # bytes of an entry of 17


class Store(LocalStack):
    """SeaweedFS alone."""

    def _start(self) -> None:
        self._open()
        self._run(self._seaweed())

    @property
    def photos(self) -> Blobs:
        settings = self._settings()
        return bucket(settings, settings.bucket_photos)


def read(store: Store, name: str) -> bytes:
    """A photo, as soon as its volume is known: buckets are there some seconds before."""
    for _ in range(60):
        with suppress(Unavailable):
            return store.photos.get(name)
        time.sleep(0.5)
    raise AssertionError(f"{name} cannot be read")


@pytest.mark.parametrize("lost", [0, 3], ids=["an entry that was never told of", "a part of the last entry"])
def test_photos_are_read_again_although_a_full_disk_cut_the_index(tmp_path: Path, lost: int) -> None:
    """Without `mend` the volume is not loaded: its objects are listed, and none can be read."""
    photos = {f"local/{n}": bytes([n]) * 20_000 for n in range(20)}
    with Store(tmp_path) as store:
        for name, data in photos.items():
            store.photos.put(name, data)
    for index in (tmp_path / "seaweedfs").glob("*.idx"):
        with index.open("r+b") as file:
            whole = index.stat().st_size
            file.truncate(whole - lost if lost and whole else whole + TORN)
    with Store(tmp_path) as store:
        assert {name: read(store, name) for name in photos} == photos
        assert "rebuilding it from" in (store.logs / "seaweedfs.log").read_text(encoding="utf-8")


def test_whole_volumes_are_left_alone(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.photos.put("local/1", b"a photo")
    with Store(tmp_path) as store:
        assert read(store, "local/1") == b"a photo"
        assert "rebuilding" not in (store.logs / "seaweedfs.log").read_text(encoding="utf-8")
