"""Files and folders through the engine, without any server."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from core import methods, pipeline
from core.errors import NotFound, RequestRefused, RestoreDenied, SiderError, StateConflict
from core.networks import Networks
from core.pipeline import Outcome, Request
from core.settings import Settings
from core.stages.sandbox import read_upload
from core.stages.validate import Limits, Photo
from core.vault import passwords
from core.vault.custody import Custody
from core.vault.envelope import Binding, kdf_of, key_version, open_sealed, seal
from core.vault.keyring import Keyring
from core.vault.provenance import marked_png

PHOTOS = {".jpg", ".jpeg", ".png", ".webp"}
# A key file may be renamed or moved with its picture; it is bound to no name.
BINDING = Binding("local", "file", "restoration")


@dataclass(frozen=True, slots=True)
class Protection:
    """One run of `sider protect`: OUT/<stem>.key, OUT/<stem>.png, OUT/<stem>.v2.png ..."""

    out: Path
    request: Request
    password: str | None
    custody: Custody
    keep_missed: bool
    overwrite: bool
    as_json: bool

    def protect_all(self, paths: list[Path], console: Console) -> int:
        """Protect every photo; an unusable photo does not stop the run. 0 when every promise was met.

        Raises:
            RequestRefused: unknown method or preset, or no photo there.
        """
        methods.check(self.request.method, self.request.preset)
        jobs = list(plan(paths))
        settings = Settings()
        keyring = None if self.custody is Custody.CALLER else Keyring.open_or_create(keyring_path())
        networks = Networks.load(settings.bundle, settings.device)
        # One derivation a run: the lock is bound to each key file by its fresh data key all the same.
        lock = passwords.lock(self.password) if self.password else None
        limits = Limits(settings.max_upload_bytes, settings.max_pixels)
        missed = 0
        with _bar(console) as bar:
            total = bar.add_task("photos", total=len(jobs))
            for number, (path, stem) in enumerate(jobs):
                bar.update(total, description=path.name, completed=number)

                def step(_: str, fraction: float, number: int = number) -> None:
                    bar.update(total, completed=number + min(0.99, fraction))

                try:
                    self._check(path, stem)
                    outcome = pipeline.attempt(read_upload(path.read_bytes(), limits), self.request, networks, step)
                    line = self._write(outcome, stem, seal(outcome.restoration.pack(), BINDING, keyring, lock))
                    missed += not outcome.held
                except (SiderError, OSError) as error:
                    code = error.code if isinstance(error, SiderError) else "file_unreadable"
                    line = {"held": False, "error": {"code": code, "message": str(error)}}
                    missed += 1
                bar.update(total, completed=number + 1)
                report(console, self.as_json, {"file": str(path), **line})
        return 1 if missed else 0

    def _targets(self, stem: Path) -> list[Path]:
        target = self.out / stem
        names = [f"{target.name}.png" if n == 1 else f"{target.name}.v{n}.png" for n in self._numbers]
        return [target.with_name(name) for name in (f"{target.name}.key", *names)]

    @property
    def _numbers(self) -> range:
        return range(1, self.request.variants + 1)

    def _check(self, path: Path, stem: Path) -> None:
        for target in self._targets(stem):
            check_target(target, path, self.overwrite)

    def _write(self, outcome: Outcome, stem: Path, sealed: bytes) -> dict[str, Any]:
        if not outcome.held and not self.keep_missed:
            error = {"code": "promise_not_met", "message": "no picture was written; see the report"}
            return {"held": False, "error": error, "report": outcome.report}
        key, *pictures = self._targets(stem)
        key.parent.mkdir(parents=True, exist_ok=True)
        # The key first: a protected picture without its key could never be restored.
        _write_file(key, sealed)
        for target, photo in zip(pictures, outcome.protected, strict=True):
            _write_file(target, marked_png(photo.pixels))
        written = [str(target) for target in pictures]
        return {"held": outcome.held, "protected": written, "key": str(key), "report": outcome.report}


def check_target(target: Path, source: Path, overwrite: bool) -> None:
    """Nothing is lost by accident: a photo is never written over itself, other files only when asked for.

    Raises:
        StateConflict: `file_exists`.
    """
    if target.exists() and (not overwrite or target.samefile(source)):
        remedy = "name another --out" + ("" if target.samefile(source) else ", or add --overwrite")
        raise StateConflict(f"{target} is there already; {remedy}", code="file_exists")


def restore_all(
    paths: list[Path], out: Path, password: Callable[[], str], console: Console, overwrite: bool, as_json: bool
) -> int:
    """Restore every picture that has its key beside it; 0 when all were restored. `password` is called if needed."""
    failed = 0
    for path, stem in plan(paths):
        try:
            target = out / f"{stem}.png"
            check_target(target, path, overwrite)
            original = _restore(path, password)
            target.parent.mkdir(parents=True, exist_ok=True)
            _write_file(target, original.to_png())
            line: dict[str, Any] = {"restored": str(target), "sha256": original.sha256, "exact": True}
        except (SiderError, OSError) as error:
            failed += 1
            code = error.code if isinstance(error, SiderError) else "file_unreadable"
            hint = f" The keyring was {keyring_path()}." if isinstance(error, RestoreDenied) else ""
            line = {"error": {"code": code, "message": f"{error}{hint}"}}
        report(console, as_json, {"file": str(path), **line})
    return 1 if failed else 0


def _restore(path: Path, password: Callable[[], str]) -> Photo:
    base = re.sub(r"\.v\d+$", "", path.stem)
    key_file = path.with_name(f"{base}.key")
    if not key_file.is_file():
        raise NotFound(f"no key beside the picture: {key_file} is missing")
    sealed = key_file.read_bytes()
    # Never a fresh one: it could open nothing, and would hide that the right one is missing.
    keyring = None if key_version(sealed) is None else Keyring.open(keyring_path())
    kdf = kdf_of(sealed)
    key = passwords.derive_key(password(), *kdf) if kdf else None
    packed = open_sealed(sealed, BINDING, keyring, key)
    data = path.read_bytes()
    return pipeline.restore(read_upload(data, Limits(max_bytes=max(1, len(data)))), packed)


def plan(paths: list[Path]) -> Iterator[tuple[Path, Path]]:
    """(photo, stem of its results) for files, and for all photos below folders.

    Raises:
        RequestRefused: nothing there, or two photos would write the same files.
    """
    seen: dict[Path, Path] = {}
    for root in paths:
        if not root.exists():
            raise RequestRefused(f"{root} does not exist")
        found = sorted(p for p in root.rglob("*") if p.suffix.lower() in PHOTOS) if root.is_dir() else [root]
        for path in found:
            stem = (path.relative_to(root) if root.is_dir() else Path(path.name)).with_suffix("")
            if stem in seen:
                raise RequestRefused(f"{seen[stem]} and {path} would both be written as {stem}; rename one")
            seen[stem] = path
    if not seen:
        raise RequestRefused("no JPEG, PNG or WebP photo was found")
    yield from ((path, stem) for stem, path in seen.items())


def new_password(file: Path | None, custody: Custody, console: Console) -> str | None:
    """A password that suits the custody; None where there is none (RequestRefused)."""
    password = None if custody is Custody.SERVER and file is None else read_password(file, console)
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


def keyring_path() -> Path:
    """SIDER_KEYRING_FILE, or one in the user's application folder, so that keys and pictures lie apart."""
    settings = Settings()
    chosen = "keyring_file" in settings.model_fields_set
    return settings.keyring_file if chosen else Path(typer.get_app_dir("sider")) / "keyring.json"


def report(console: Console, as_json: bool, line: dict[str, Any]) -> None:
    """One JSON line on standard output, or one for people."""
    if as_json:
        print(json.dumps(line), flush=True)  # noqa: T201
    elif "error" in line:
        console.print(f"[red]{line['error']['code']}[/] {line['file']}: {line['error']['message']}", highlight=False)
    elif "restored" in line:
        console.print(f"[green]restored[/] {line['restored']} (bit for bit)", highlight=False)
    else:
        word = "needs" if line["report"]["promise"]["machines_match"] else "may have"
        for variant, name in zip(line["report"]["variants"], line["protected"], strict=True):
            marks = ", ".join(
                f"{encoder} {facts['cosine']:.2f} ({word} {facts['required']:.2f})"
                for face in variant
                for encoder, facts in face["encoders"].items()
            )
            console.print(f"[green]protected[/] {name}: {marks}", highlight=False)


def _write_file(path: Path, data: bytes) -> None:
    """All or nothing: an interrupted run leaves no half pictures."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    fresh.write_bytes(data)
    fresh.replace(path)


def _bar(console: Console) -> Progress:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)
