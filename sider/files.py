"""Files that are read and written: which, under which names, with which password."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import typer
from rich.console import Console

from core.errors import PhotoRefused, RequestRefused, StateConflict
from core.stages.sandbox import read_upload
from core.stages.validate import Limits, Photo
from core.vault import passwords
from core.vault.custody import Custody
from core.vault.durable import rename, settle
from core.vault.restoration import MAX_PIXELS
from sider.lines import tell

PHOTOS = {".jpg", ".jpeg", ".png", ".webp"}
MAX_BYTES = 4 * MAX_PIXELS  # of any picture: not even without compression has one more


def check_target(target: Path, source: Path, overwrite: bool) -> None:
    """Nothing is lost by accident: a photo is never written over itself, other files only when asked for.

    Raises:
        StateConflict: `file_exists`.
    """
    if target.exists() and (not overwrite or target.samefile(source)):
        remedy = "name another --out" + ("" if target.samefile(source) else ", or add --overwrite")
        raise StateConflict(f"{target} is there already; {remedy}", code="file_exists")


def plan(paths: list[Path], out: Path, variants: int = 1) -> Iterator[tuple[Path, Path]]:
    """(photo, stem of its results) for files, and for all photos below folders, but not below the results' own.

    Raises:
        RequestRefused: nothing there, or two photos would write the same files.
    """
    found, seen = dict[Path, Path](), dict[Path, Path]()
    for root in paths:
        if not root.exists():
            raise RequestRefused(f"{root} does not exist")
        for path in _photos(root, out.resolve()) if root.is_dir() else [root]:
            stem = (path.relative_to(root) if root.is_dir() else Path(path.name)).with_suffix("")
            for made in results_of(stem, variants):  # of her.jpg the second is that of her.v2.jpg
                if made in seen:
                    raise RequestRefused(f"{seen[made]} and {path} would both be written as {made}; rename one")
                seen[made] = path
            found[stem] = path
    if not found:
        raise RequestRefused(f"no JPEG, PNG or WebP photo was found in {', '.join(map(str, paths))}")
    yield from ((path, stem) for stem, path in found.items())


def results_of(stem: Path, variants: int) -> list[Path]:
    """What the pictures of a photo are called, without their suffix."""
    return [stem, *(stem.with_name(f"{stem.name}.v{number}") for number in range(2, variants + 1))]


def left_out(paths: list[Path], out: Path) -> list[Path]:
    """Files below folders that `plan` takes for no photos, without hidden ones: HEIC and videos, for example."""
    found = (path for root in paths if root.is_dir() for path in _below(root, out.resolve()))
    return [path for path in found if path.suffix.lower() not in PHOTOS and not path.name.startswith(".")]


def _photos(folder: Path, results: Path) -> list[Path]:
    return [path for path in _below(folder, results) if path.suffix.lower() in PHOTOS]


def _below(folder: Path, results: Path) -> list[Path]:
    """All files in a folder and in those that it has, but for those of the results."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    if folder.resolve() not in results.parents:
        return found
    return [path for path in found if results not in path.resolve().parents]


def tell_left_out(files: list[Path], console: Console) -> None:
    """In a line, or whoever has an album of HEIC photos would believe that all of them are protected."""
    if files:
        names = ", ".join(str(path) for path in files[:3]) + (", ..." if len(files) > 3 else "")
        count = "1 file is" if len(files) == 1 else f"{len(files)} files are"
        tell(console, "yellow", "left out", f"{count} no JPEG, PNG or WebP: {names}")


def read_file(path: Path, most: int) -> bytes:
    """A file of `most` bytes or fewer (PhotoRefused: it has more; OSError)."""
    with path.open("rb") as file:
        # Its size is asked first, because memory is taken for all of it; a pipe has none, and may never end.
        data = None if os.fstat(file.fileno()).st_size > most else file.read(most + 1)
    if data is None or len(data) > most:
        raise PhotoRefused(f"the photo has more than the {most} bytes that are accepted", code="photo_too_large")
    return data


def read_made(path: Path) -> Photo:
    """A picture that was made by us: whatever SIDER_MAX_PIXELS is now, it was let in once (PhotoRefused, OSError)."""
    data = read_file(path, MAX_BYTES)
    return read_upload(data, Limits(max_bytes=max(1, len(data)), max_pixels=MAX_PIXELS))


def new_password(file: Path | None, custody: Custody, console: Console, resumed: bool = False) -> str | None:
    """A password that suits the custody; None where there is none. resumed: an earlier run's, so no fresh code.

    Raises:
        RequestRefused: it does not suit, or cannot be had.
    """
    asked = custody is not Custody.SERVER or file is not None
    if asked and resumed and file is None and not console.is_terminal:
        raise RequestRefused(
            "some of these photos were begun by an earlier run: put its restore code into a file and name it with "
            "--password-file, or begin all anew with --overwrite"
        )
    password = read_password(file, console) if asked else None
    custody.check(password)
    return password


def read_password(file: Path | None, console: Console, new: bool = True) -> str:
    """From a file, or asked for; without a terminal a new run gets a random restore code, shown once.

    Raises:
        RequestRefused: no password to be had.
    """
    if file:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise RequestRefused(f"the password file {file} is no UTF-8 text") from error
        except OSError as error:
            raise RequestRefused(f"the password file {file} cannot be read: {error.strerror}") from error
        password = lines[0] if lines else ""
    elif console.is_terminal:
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=new, err=True)
    elif new:
        password = passwords.new_restore_code()
        console.print(f"no password given; restore code, shown this once: {password}", highlight=False)
    else:
        raise RequestRefused("no password: name a file with --password-file")
    return password


def write_file(path: Path, data: bytes) -> None:
    """All or nothing, and on the disk: an interrupted run leaves no half pictures."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with fresh.open("xb") as file:
            file.write(data)
            settle(file)
        rename(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
