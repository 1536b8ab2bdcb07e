"""Files that are still there when the power has failed: first their bytes, then the names that lead to them."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import IO, Any


def settle(file: IO[Any]) -> None:
    """Write out what was written to an open file."""
    file.flush()
    os.fsync(file.fileno())


def rename(fresh: Path, target: Path) -> Path:
    """Give a file its name, in place of any that has it. Not settled, it could be left with its name and no bytes."""
    fresh.replace(target)
    sync_folder(target.parent)
    return target


def make_folder(folder: Path) -> None:
    """Make a folder, and those that it is in, where there is none."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Write out the names in a folder, where that can be asked for."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:  # any folder on Windows; elsewhere one that we may not read
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network shares cannot
            raise
    finally:
        os.close(handle)
