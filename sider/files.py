"""Files that are read and written: which, under which names, with which password, and what is said about them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from core.errors import RequestRefused, SiderError, StateConflict
from core.stages.sandbox import read_upload
from core.stages.validate import Limits, Photo
from core.vault import passwords
from core.vault.custody import Custody
from core.vault.restoration import MAX_PIXELS

PHOTOS = {".jpg", ".jpeg", ".png", ".webp"}


def check_target(target: Path, source: Path, overwrite: bool) -> None:
    """Nothing is lost by accident: a photo is never written over itself, other files only when asked for.

    Raises:
        StateConflict: `file_exists`.
    """
    if target.exists() and (not overwrite or target.samefile(source)):
        remedy = "name another --out" + ("" if target.samefile(source) else ", or add --overwrite")
        raise StateConflict(f"{target} is there already; {remedy}", code="file_exists")


def plan(paths: list[Path], out: Path) -> Iterator[tuple[Path, Path]]:
    """(photo, stem of its results) for files, and for all photos below folders, but not below the results' own.

    Raises:
        RequestRefused: nothing there, or two photos would write the same files.
    """
    seen: dict[Path, Path] = {}
    for root in paths:
        if not root.exists():
            raise RequestRefused(f"{root} does not exist")
        for path in _photos(root, out.resolve()) if root.is_dir() else [root]:
            stem = (path.relative_to(root) if root.is_dir() else Path(path.name)).with_suffix("")
            if stem in seen:
                raise RequestRefused(f"{seen[stem]} and {path} would both be written as {stem}; rename one")
            seen[stem] = path
    if not seen:
        raise RequestRefused("no JPEG, PNG or WebP photo was found")
    yield from ((path, stem) for stem, path in seen.items())


def _photos(folder: Path, results: Path) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PHOTOS)
    if folder.resolve() not in results.parents:
        return found
    return [path for path in found if results not in path.resolve().parents]


def read_made(path: Path) -> Photo:
    """A picture that was made by us: whatever SIDER_MAX_PIXELS is now, it was let in once (PhotoRefused, OSError)."""
    data = path.read_bytes()
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


def error_line(error: SiderError | OSError) -> dict[str, Any]:
    """What a result line says of an error; the details of a missed promise are its report."""
    code = error.code if isinstance(error, SiderError) else "file_unreadable"
    line: dict[str, Any] = {"error": {"code": code, "message": str(error)}}
    if code == "promise_not_met" and isinstance(error, SiderError):
        line["report"] = error.details
    return line


def report(console: Console, as_json: bool, line: dict[str, Any]) -> None:
    """One JSON line on standard output, or one for people."""
    if as_json:
        print(json.dumps(line), flush=True)  # noqa: T201
    elif "error" in line:
        _tell(console, "red", line["error"]["code"], f"{line['file']}: {line['error']['message']}")
    elif line.get("before"):
        _tell(console, "green", "done before", line["file"])
    elif "erased" in line:
        _tell(console, "green", "erased", line["erased"])
    elif "restored" in line:
        _tell(console, "green", "restored", f"{line['restored']} (bit for bit)")
    else:
        word = "needs" if line["report"]["promise"]["machines_match"] else "may have"
        for variant, name in zip(line["report"]["variants"], line["protected"], strict=True):
            marks = ", ".join(
                f"{encoder} {facts['cosine']:.2f} ({word} {facts['required']:.2f})"
                for face in variant
                for encoder, facts in face["encoders"].items()
            )
            _tell(console, "green", "protected", f"{name}: {marks}")


def _tell(console: Console, style: str, what: str, of: str) -> None:
    # No markup: a file may be called [/b].
    console.print(Text.assemble((what, style), " ", of))


def write_file(path: Path, data: bytes) -> None:
    """All or nothing: an interrupted run leaves no half pictures."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        fresh.write_bytes(data)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
