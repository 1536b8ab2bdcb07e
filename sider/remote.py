"""Photos through a service somewhere else: what `--server` does."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from core.errors import NotFound, PhotoRefused, RequestRefused, SiderError, StateConflict
from core.jobs.states import ENDS, State
from core.vault.durable import rename
from sider.client import Client
from sider.client.models import Progress, ProtectOptions
from sider.files import MAX_BYTES, read_made
from sider.lines import error_line, report
from sider.runs import OutcomeUnknown, Step, Wish

KEY_VARIABLE = "SIDER_API_KEY"
GIVEN_UP = ENDS - {State.succeeded}


def connect(server: str, key_file: Path | None, token_file: Path | None = None) -> Client:
    """A client with the key of a file or of SIDER_API_KEY: arguments of a command are for everybody to see.

    Raises:
        RequestRefused: no key, or no address of a service.
    """
    key = _line(key_file) if key_file else os.environ.get(KEY_VARIABLE, "")
    if not key:
        raise RequestRefused(f"no API key: put it into {KEY_VARIABLE}, or name a file with --key-file")
    # Read for each restore: such tokens soon expire, and whoever renews them writes the file.
    return Client(server, key, token=(lambda: _line(token_file)) if token_file else None)


@dataclass(frozen=True, slots=True)
class Service:
    """Protects into pictures only: the key stays with the service, which knows its pictures by their pixels."""

    client: Client
    wish: Wish
    where: str

    at_once = 4
    max_bytes = MAX_BYTES  # the service says itself how many it takes

    def beside(self, stem: Path) -> list[Path]:  # noqa: ARG002
        return []

    def protect(self, photo: bytes, targets: list[Path], attempt: str, step: Step) -> dict[str, Any]:
        state = State.queued

        def told(progress: Progress) -> None:
            nonlocal state
            state = progress.state
            step(progress.progress)

        try:
            accepted = self.client.protect(photo, idempotency_key=attempt, **_options(self.wish))
            job = self.client.wait(accepted.job_id, told=told)
            for number, target in enumerate(targets, 1):
                self.client.download(accepted.photo_id, target, variant=number)
        except (SiderError, OSError) as error:
            # Refused or erased, there is no photo. Else there may be one, which another Idempotency-Key would not find.
            if state in GIVEN_UP or isinstance(error, PhotoRefused | NotFound):
                raise
            raise OutcomeUnknown(error) from error
        report = (job.result or {})["report"]
        written = [str(target) for target in targets]
        return {"held": report["held"], "protected": written, "photo_id": accepted.photo_id, "report": report}


def restore(client: Client, path: Path, target: Path, password: Callable[[], str], reason: str) -> dict[str, Any]:
    """Restore a picture that the service has made; `password` is called if it is needed (SiderError, OSError)."""
    photo_id, *others = photos_of(client, str(path))
    if others:
        # Each has a password of its own, and a wrong one counts as a guess.
        raise RequestRefused(
            f"{path} was made of more than one photo: {', '.join((photo_id, *others))}; restore the one you mean by "
            "its id with POST /restore, or erase the others by theirs"
        )
    given = None if client.photo(photo_id).custody == "server" else password()
    job = client.wait(client.restore(photo_id, reason=reason, password=given).job_id)
    fresh = target.with_name(f".{target.name}.{secrets.token_hex(4)}")  # what is there may be all that its owner has
    try:
        client.download_restored(job, fresh)
        sha256 = read_made(fresh).sha256
        if sha256 != (job.result or {}).get("sha256"):
            raise StateConflict("what the service has sent is not the original", code="restore_damaged")
        rename(fresh, target)
    finally:
        fresh.unlink(missing_ok=True)
    return {"restored": str(target), "sha256": sha256, "exact": True}


def verify(client: Client, path: Path, console: Console) -> int:
    """Was a picture made by the service, of this tenant's photos? 0 if it was, else 1."""
    outputs = client.verify(path).outputs
    for output in outputs:
        when = f", {output.protected_at:%Y-%m-%d %H:%M}" if output.protected_at else ""
        console.print(f"{output.photo_id} {output.name}{when}", highlight=False)
    if not outputs:
        console.print("not made here, or changed since, or erased")
    return 0 if outputs else 1


def erase_all(client: Client, photos: list[str], console: Console, as_json: bool) -> int:
    """Erase photos, named by their ids or by pictures that were made of them, a line each; 0 when all were erased."""
    failed = 0
    for name in photos:
        for line in _erase(client, name):
            failed += "error" in line
            report(console, as_json, {"file": name, **line})
    return 1 if failed else 0


def _erase(client: Client, name: str) -> Iterator[dict[str, Any]]:
    try:
        for photo_id in photos_of(client, name):
            erased = client.erase(photo_id)
            yield {"erased": erased.photo_id, "key_destroyed": erased.key_destroyed}
    except (SiderError, OSError) as error:
        yield error_line(error)


def photos_of(client: Client, name: str) -> list[str]:
    """The ids of photos: one by itself, or by the file of a picture all those that it was made of (NotFound).

    They are several where the same upload was protected twice with the same seed.
    """
    if re.fullmatch(r"pho_[0-9a-f]{32}", name):
        return [name]
    if not Path(name).is_file():
        raise NotFound(f"{name} is neither a file nor the id of a photo (pho_...)")
    outputs = client.verify(Path(name)).outputs
    if not outputs:
        raise NotFound("the service has not made this picture, or it was changed since, or erased")
    return list(dict.fromkeys(output.photo_id for output in outputs))


def _options(wish: Wish) -> ProtectOptions:
    found: ProtectOptions = {
        "method": wish.method, "preset": wish.preset, "variants": wish.variants, "custody": wish.custody.value,
        "presentation": wish.presentation.value, "age": wish.age.value, "faces": wish.faces.value,
    }  # fmt: skip
    if wish.seed is not None:
        found["seed"] = wish.seed
    if wish.password is not None:
        found["password"] = wish.password
    return found


def _line(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise RequestRefused(f"{file} cannot be read: {type(error).__name__}") from error
