"""A throwaway PostgreSQL server from the machine's own binaries, on a Unix socket only."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """A server's SQLAlchemy URL; its data dies with it."""
    # PostgreSQL refuses to run as root, and a socket's path has 107 bytes at most: hence a short folder of its own.
    user = "nobody" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp") as home:
        if user:
            shutil.chown(home, user)
        data = f"{home}/data"
        make = [folder / "initdb", "-D", data, "-U", "sider", "--auth", "trust", "--no-sync", "--locale", "C.UTF-8"]
        subprocess.run(make, user=user, cwd=home, check=True, capture_output=True)
        run = [folder / "postgres", "-D", data, "-k", home, "-c", "listen_addresses=", "-c", "fsync=off"]
        with Path(f"{home}/log").open("wb") as log:
            process = subprocess.Popen(run, user=user, cwd=home, stdout=log, stderr=log)
        try:
            url = f"postgresql+psycopg://sider@/postgres?host={home}"
            _wait(url, Path(f"{home}/log"))
            yield url
        finally:
            process.send_signal(signal.SIGINT)  # "fast": open connections are ended
            process.wait(30)


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
