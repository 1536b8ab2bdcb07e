"""Many photos in one run: whatever one of them is like, the others are done, and nothing is done twice."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, Protocol
from uuid import uuid4

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from core.errors import SiderError
from core.looks import Age, Faces, Presenting
from core.vault.custody import Custody
from core.vault.durable import make_folder, settle, sync_folder
from sider.files import MAX_BYTES, check_target, plan, read_file, results_of
from sider.lines import error_line, report, summary

JOURNAL = ".sider-run.jsonl"

Step = Callable[[float], None]  # how far a photo is, 0 to 1


@dataclass(frozen=True, slots=True)
class Wish:
    """How photos are to be protected."""

    method: str
    preset: str
    variants: int
    seed: int | None
    custody: Custody
    password: str | None = field(repr=False)
    presentation: Presenting = Presenting.keep
    age: Age = Age.keep
    consistent: bool = False
    faces: Faces = Faces.all


class OutcomeUnknown(Exception):
    """An attempt that may yet have come to something, so that it is to be resumed and not begun anew."""

    def __init__(self, error: SiderError | OSError) -> None:
        super().__init__(str(error))
        self.error = error


class Protector(Protocol):
    """Protects a photo, here or on a server, and writes what comes of it to the targets: what stands `beside` the
    pictures first, then the pictures. `where` is part of what a photo is known by to have been done; one of more than
    `max_bytes` is refused.

    `attempt` is the same when one that was interrupted is resumed. `protect` raises SiderError or OSError when it has
    come to nothing, OutcomeUnknown when it may not have.
    """

    @property
    def at_once(self) -> int: ...
    @property
    def where(self) -> str: ...
    @property
    def max_bytes(self) -> int: ...
    def beside(self, stem: Path) -> list[Path]: ...
    def protect(self, photo: bytes, targets: list[Path], attempt: str, step: Step) -> dict[str, Any]: ...


class Journal:
    """What was begun and done in a folder, a JSON line each. The last line about a photo counts: while it has an
    `attempt`, that is the next one's name, and the files that are there are what was left."""

    def __init__(self, out: Path) -> None:
        self._path, self._lock = out / JOURNAL, Lock()
        self._last: dict[str, dict[str, Any]] = {}
        if self._path.is_file():
            for text in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    entry = json.loads(text)
                    self._last[entry["photo"]] = entry
                except (ValueError, KeyError, TypeError):
                    continue  # cut off as it was written

    def of(self, photo: str) -> dict[str, Any]:
        """The last entry of a photo."""
        return self._last.get(photo, {})

    def note(self, photo: str, said: dict[str, Any]) -> None:
        """Add an entry."""
        line = json.dumps({"photo": photo} | said).encode() + b"\n"
        with self._lock, self._path.open("ab+") as file:
            if begun := file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # cut off as it was written, which must not cost this line, too
                    line = b"\n" + line
            file.write(line)
            settle(file)
        if not begun:
            sync_folder(self._path.parent)


@dataclass(frozen=True, slots=True)
class Run:
    """One `sider protect`: OUT/<stem>.png, OUT/<stem>.v2.png ..., and what the protector writes beside them."""

    out: Path
    wish: Wish
    overwrite: bool
    as_json: bool

    def protect_all(
        self, photos: list[tuple[Path, Path]], protector: Protector, console: Console
    ) -> list[dict[str, Any]]:
        """A line for each photo and stem of its results; one with an error keeps no other from being done."""
        make_folder(self.out)
        journal = Journal(self.out)
        lines: list[dict[str, Any]] = []
        done = dict.fromkeys((path for path, _ in photos), 0.0)
        with _bar(console) as bar, ThreadPoolExecutor(protector.at_once) as pool:
            task = bar.add_task("photos", total=len(photos))

            def step(path: Path, fraction: float) -> None:
                done[path] = max(done[path], fraction)  # a second try begins anew
                bar.update(task, description=path.name, completed=sum(done.values()))

            def one(path: Path, stem: Path) -> dict[str, Any]:
                line = self._one(path, stem, journal, protector, lambda fraction: step(path, min(0.99, fraction)))
                step(path, 1.0)
                return {"file": str(path), **line}

            try:
                for future in as_completed([pool.submit(one, *photo) for photo in photos]):
                    lines.append(future.result())
                    report(console, self.as_json, lines[-1])
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        if len(lines) > 1:
            console.print(summary(lines))
        return lines

    def _one(self, path: Path, stem: Path, journal: Journal, protector: Protector, step: Step) -> dict[str, Any]:
        name = stem.as_posix()
        try:
            photo = read_file(path, protector.max_bytes)
            digest = self._digest(photo, protector.where)
            before = self._noted(name, digest, journal)
            if (line := before.get("line")) and "error" not in line and is_there(line):
                return {**line, "before": True}
            targets = self._targets(stem, protector)
            begun = "attempt" in before
            for target in targets:
                check_target(target, path, self.overwrite or begun)
            attempt = before.get("attempt") or str(uuid4())
            make_folder(targets[0].parent)
            journal.note(name, {"is": digest, "attempt": attempt})
        except (SiderError, OSError) as error:
            return {"held": False, **error_line(error)}
        unsettled: dict[str, str] = {}
        try:
            line = protector.protect(photo, targets, attempt, step)
        except OutcomeUnknown as unknown:
            line, unsettled = {"held": False, **error_line(unknown.error)}, {"attempt": attempt}
        except (SiderError, OSError) as error:
            line = {"held": False, **error_line(error)}
            # With --overwrite nobody knows whose they are.
            if not self.overwrite and any(target.exists() for target in targets):
                unsettled = {"attempt": str(uuid4())}
        journal.note(name, {"is": digest, "line": line} | unsettled)
        return line

    def resumes(self, photos: list[tuple[Path, Path]], where: str) -> bool:
        """Whether an earlier run has begun one of the photos in the same way, and not settled it."""
        journal = Journal(self.out)
        for path, stem in photos:
            name = stem.as_posix()
            with suppress(SiderError, OSError):  # the run itself tells of it
                if "attempt" in journal.of(name):
                    digest = self._digest(read_file(path, MAX_BYTES), where)
                    if "attempt" in self._noted(name, digest, journal):
                        return True
        return False

    def done(self, photos: list[tuple[Path, Path]], where: str) -> dict[Path, dict[str, Any]]:
        """The lines of photos that earlier runs have protected in the same way, though the results may be lost."""
        journal, found = Journal(self.out), {}
        for path, stem in photos:
            try:
                noted = self._noted(stem.as_posix(), self._digest(read_file(path, MAX_BYTES), where), journal)
            except (SiderError, OSError):
                continue
            if (line := noted.get("line")) and "error" not in line:
                found[path] = line
        return found

    def _noted(self, name: str, digest: str, journal: Journal) -> dict[str, Any]:
        before = journal.of(name)
        return {} if self.overwrite or before.get("is") != digest else before

    def _targets(self, stem: Path, protector: Protector) -> list[Path]:
        target = self.out / stem
        pictures = (made.with_name(f"{made.name}.png") for made in results_of(target, self.wish.variants))
        return [*protector.beside(target), *pictures]

    def _digest(self, photo: bytes, where: str) -> str:
        """Of a photo and what is wished for it; not of the password, which could be guessed from it."""
        w = self.wish
        wish = [w.method, w.preset, w.variants, w.seed, w.custody, w.presentation, w.consistent, where]
        # Journals of before know nothing of these.
        wish += [w.age] if w.age is not Age.keep else []
        wish += [w.faces] if w.faces is not Faces.all else []
        return hashlib.sha256(json.dumps(wish).encode() + photo).hexdigest()


def restore_all(
    paths: list[Path],
    out: Path,
    restore: Callable[[Path, Path], dict[str, Any]],
    console: Console,
    overwrite: bool,
    as_json: bool,
) -> int:
    """Restore every picture by a function of it and its target; 0 when all were restored."""
    failed = 0
    for path, stem in plan(paths, out):
        try:
            target = out / f"{stem}.png"
            check_target(target, path, overwrite)
            make_folder(target.parent)
            line = restore(path, target)
        except (SiderError, OSError) as error:
            line = error_line(error)
        failed += "error" in line
        report(console, as_json, {"file": str(path), **line})
    return 1 if failed else 0


def is_there(line: dict[str, Any]) -> bool:
    """Whether all that was made of a photo is still where it was written."""
    return all(Path(name).is_file() for name in (*line["protected"], *([line["key"]] if "key" in line else [])))


def _bar(console: Console) -> Progress:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console, transient=True)
