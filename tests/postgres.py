"""A throwaway PostgreSQL server from the machine's own binaries, on a Unix socket only."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

START_SECONDS = 60.0


def binaries() -> Path | None:
    """The folder of initdb and postgres, if the machine has them."""
    found = shutil.which("initdb")
    if found:
        return Path(found).parent
    return next((p.parent for p in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)), None)


class Server:
    """A server over a folder of its own; `url` is SQLAlchemy's."""

    def __init__(self, folder: Path, home: str) -> None:
        # PostgreSQL refuses to run as root.
        self._folder, self._home, self._user = folder, home, "nobody" if os.geteuid() == 0 else None
        self.url = f"postgresql+psycopg://sider@/postgres?host={home}"
        if self._user:
            shutil.chown(home, self._user)
        data = ("-D", f"{home}/data")
        make = [folder / "initdb", *data, "-U", "sider", "--auth", "trust", "--no-sync", "--locale", "C.UTF-8"]
        subprocess.run(make, user=self._user, cwd=home, check=True, capture_output=True)
        self._argv = [folder / "postgres", *data, "-k", home, "-c", "listen_addresses=", "-c", "fsync=off"]

    def start(self) -> None:
        """Start it and wait until it answers."""
        log = Path(f"{self._home}/log")
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                self._argv, user=self._user, cwd=self._home, stdout=file, stderr=file, start_new_session=True
            )
        _wait(self.url, log)

    def stop(self) -> None:
        """In order; open connections are ended ("fast")."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(30)

    def kill(self) -> None:
        """With kill -9, all of its processes: each has a session of its own."""
        backends = subprocess.run(["pgrep", "-P", str(self._process.pid)], capture_output=True, text=True, check=False)
        for pid in (self._process.pid, *map(int, backends.stdout.split())):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()


@contextmanager
def server(folder: Path) -> Iterator[Server]:
    """A server that runs; its data dies with it."""
    # A socket's path has 107 bytes at most: hence a short folder.
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp") as home:
        running = Server(folder, home)
        running.start()
        try:
            yield running
        finally:
            running.stop()


def _wait(url: str, log: Path) -> None:
    engine = create_engine(url)
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with engine.connect() as connection:
                connection.execute(text("SELECT 1"))
                break
        except OperationalError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
    engine.dispose()
