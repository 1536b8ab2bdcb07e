"""Photos through the engine on this machine, without any server."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from core.errors import NotFound, PhotoRefused, PromiseNotMet, RestoreDenied
from core.settings import Settings
from core.stages.sandbox import read_upload
from core.stages.validate import Limits
from core.vault import passwords
from core.vault.custody import Custody
from core.vault.envelope import Binding, kdf_of, key_version, open_sealed, seal
from core.vault.keyring import Keyring
from core.vault.passwords import Lock
from core.vault.provenance import marked_png
from core.vault.restoration import Restoration
from sider.files import read_file, read_made, write_file
from sider.lines import error_line
from sider.runs import Step, Wish

if TYPE_CHECKING:
    from core.networks import Networks

# A key file may be renamed or moved with its picture; it is bound to no name.
BINDING = Binding("local", "file", "restoration")
MAX_KEY_BYTES = 2**31  # AES-GCM, as `cryptography` has it, seals no more at once


@dataclass(frozen=True, slots=True)
class Engine:
    """Protects into OUT/<stem>.key and the pictures. personas: of the faces of photos, by the sha256 of their files."""

    wish: Wish
    keep_missed: bool
    keyring: Keyring | None
    lock: Lock | None
    limits: Limits
    personas: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    at_once = 1
    where = ""

    @property
    def max_bytes(self) -> int:
        return self.limits.max_bytes

    @classmethod
    def load(cls, wish: Wish, keep_missed: bool) -> Engine:
        """With its keys (ConfigurationError)."""
        settings = Settings()
        return cls(
            wish=wish,
            keep_missed=keep_missed,
            keyring=None if wish.custody is Custody.CALLER else Keyring.open_or_create(keyring_path()),
            # One derivation a run: the lock is bound to each key file by its fresh data key all the same.
            lock=passwords.lock(wish.password) if wish.password else None,
            limits=Limits(settings.max_upload_bytes, settings.max_pixels),
        )

    def beside(self, stem: Path) -> list[Path]:
        return [stem.with_name(f"{stem.name}.key")]

    def protect(self, photo: bytes, targets: list[Path], attempt: str, step: Step) -> dict[str, Any]:  # noqa: ARG002
        upload, wish = read_upload(photo, self.limits), self.wish
        from core import pipeline  # noqa: PLC0415 - see networks

        request = pipeline.Request(
            wish.method, wish.preset, wish.variants, wish.seed, wish.faces,
            presentation=wish.presentation, age=wish.age, personas=self.personas.get(sha256(photo).hexdigest(), ()),
        )  # fmt: skip
        outcome = pipeline.attempt(upload, request, networks(), lambda _, done: step(done))
        if not outcome.held and not self.keep_missed:
            raise PromiseNotMet("no picture was written", details={"report": outcome.report})
        key, *pictures = targets
        # The key first: a protected picture without its key could never be restored.
        write_file(key, seal(outcome.restoration.pack(), BINDING, self.keyring, self.lock))
        for target, protected in zip(pictures, outcome.protected, strict=True):
            write_file(target, marked_png(protected.pixels, protected.profile))
        written = [str(picture) for picture in pictures]
        return {"held": outcome.held, "protected": written, "key": str(key), "report": outcome.report}


@cache
def networks() -> Networks:
    """Loaded with the first photo that needs them: torch takes seconds, and a refusal or a restore must not."""
    from core.networks import Networks  # noqa: PLC0415

    settings = Settings()
    return Networks.load(settings.bundle, settings.device, settings.licence_class)


def restore(path: Path, target: Path, password: Callable[[], str]) -> dict[str, Any]:
    """Restore a picture that has its key beside it; `password` is called if it is needed (SiderError, OSError)."""
    try:
        packed = _open(path, password)
        protected = read_made(path)
        original = replace(protected, pixels=Restoration.unpack(packed).apply(protected.pixels))
    except RestoreDenied as error:
        line = error_line(error)
        line["error"]["message"] += f" The keyring was {keyring_path()}."
        return line
    write_file(target, original.to_png())
    return {"restored": str(target), "sha256": original.sha256, "exact": True}


def _open(path: Path, password: Callable[[], str]) -> bytes:
    # her.v2.png is the second variant of her.jpg, or the first of a photo that is called her.v2.jpg.
    key_file = path.with_suffix(".key")
    if not key_file.is_file():
        key_file = path.with_name(re.sub(r"\.v\d+$", "", path.stem) + ".key")
    if not key_file.is_file():
        raise NotFound(f"no key beside the picture: {key_file} is missing")
    try:
        sealed = read_file(key_file, MAX_KEY_BYTES)
    except PhotoRefused:
        raise RestoreDenied from None
    # Never a fresh one: it could open nothing, and would hide that the right one is missing.
    keyring = None if key_version(sealed) is None else Keyring.open(keyring_path())
    kdf = kdf_of(sealed)
    return open_sealed(sealed, BINDING, keyring, passwords.derive_key(password(), *kdf) if kdf else None)


def keyring_path() -> Path:
    """SIDER_KEYRING_FILE, or one in the user's application folder, so that keys and pictures lie apart."""
    settings = Settings()
    chosen = "keyring_file" in settings.model_fields_set
    return settings.keyring_file if chosen else Path(typer.get_app_dir("sider")) / "keyring.json"
