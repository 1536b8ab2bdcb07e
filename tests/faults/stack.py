"""The local stack with two workers, a proxy before the store, short times, and a disk that may fill up."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from deploy.local import LocalStack
from deploy.part import Part
from tests import postgres
from tests.faults.proxy import HOST, Proxy

LEASE_SECONDS, ORPHAN_SECONDS = 6, 60
DISK_BYTES = 2**30


class FaultyStack(LocalStack):
    """`database`: a PostgreSQL server, or None for SQLite."""

    worker_app = "tests.faults.worker"

    def __init__(self, data: Path, database: postgres.Server | None) -> None:
        super().__init__(data)
        self.database = database
        self.proxy = Proxy(lambda: self.ports["s3"])

    def env(self) -> dict[str, str]:
        changed = {
            "SIDER_S3_ENDPOINT": f"http://{HOST}:{self.proxy.port}",
            "SIDER_LEASE_SECONDS": str(LEASE_SECONDS),
            "SIDER_ORPHAN_SECONDS": str(ORPHAN_SECONDS),
            "SIDER_GRACE_SECONDS": "5",
            "SIDER_AUDIT_HEAD_SECONDS": "5",
            "SIDER_TENANT_SHARE": "1",
            "SIDER_RATE_WRITES": "100000/minute",
            "SIDER_RATE_READS": "1000000/minute",
        }
        if self.database:
            changed["SIDER_DATABASE_URL"] = self.database.url
        return super().env() | changed

    def _start(self) -> None:
        super()._start()
        self._run(self._worker("worker2"))

    def stop(self) -> None:
        super().stop()
        self.proxy.stop()

    @property
    def workers(self) -> list[Part]:
        return [self.part("worker"), self.part("worker2")]


@contextmanager
def disk(folder: Path) -> Iterator[bool]:
    """A small disk at a folder, as long as it is needed; whether this machine lets us mount one."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "sider-faults", str(folder)]
    mounted = subprocess.run(mount, check=False, capture_output=True).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """A file that leaves no room on its disk."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(2**20))
    return filler
