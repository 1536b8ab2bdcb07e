"""What a full disk leaves of SeaweedFS's volumes, and how they are mended."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from deploy.part import plain_env

VOLUME = re.compile(r"(?:(?P<collection>.+)_)?(?P<number>\d+)")
LARGE_DISK = "8000GB"  # how a build calls itself whose offsets have five bytes; that of the wheels is one


def mend(weed: str, home: Path, log: IO[bytes]) -> None:
    """Rebuild the index of each volume in a folder that ends within an entry; what is done goes to the log.

    A disk that fills up cuts an entry off, and SeaweedFS loads such a volume no more: it lists photos that it cannot
    read. They are in the volume's data as ever, which `weed fix` reads from end to end; nobody was told that what the
    last entry stood for is stored. SeaweedFS must not run.
    """
    for volume in torn(weed, home):
        named = VOLUME.fullmatch(volume)
        assert named  # noqa: S101 - for the type checker
        which = (f"-collection={named['collection'] or ''}", f"-volumeId={named['number']}")
        log.write(f"the disk was full while {volume}.idx was written: rebuilding it from {volume}.dat\n".encode())
        log.flush()
        argv = [weed, "-logtostderr=true", "fix", *which, str(home)]
        subprocess.run(argv, env=plain_env(), stdout=log, stderr=log, check=False)  # noqa: S603


def torn(weed: str, home: Path) -> Iterator[str]:
    """The names of volumes whose index is no whole number of entries."""
    indices = [path for path in sorted(home.glob("*.idx")) if VOLUME.fullmatch(path.stem)]
    if not indices:
        return
    version = subprocess.run([weed, "version"], capture_output=True, text=True, check=False).stdout  # noqa: S603
    entry = 17 if LARGE_DISK in version else 16  # bytes: key 8, offset 5 or 4, size 4
    yield from (path.stem for path in indices if path.stat().st_size % entry)
