"""The service's key-encryption keys: versions in one file, of which the newest seals and all can open.

With `kms` the file holds the keys encrypted by AWS KMS, so that a copy of it opens nothing by itself.

A version's signing key and its key for fingerprints are derived from its key. A retired version keeps of all three
only the last; what its signing key has signed can still be verified.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from core.errors import ConfigurationError, StateConflict, Unavailable
from core.vault.durable import make_folder, rename, settle
from core.vault.kms import KmsKey

KEY_BYTES = 32
logger = structlog.get_logger(__name__)
SIGNING, PRINTS = b"sider audit v1 signing key", b"sider provenance v1 fingerprint key"


@dataclass(frozen=True, slots=True)
class Keyring:
    """keys: {version: 32 bytes}, oldest first; created: {version: ISO time from which it seals}; retired: {version:
    its public verification key}; prints: {retired version: its key for fingerprints}; kms: what encrypts the keys in
    the file. `repr` hides the keys."""

    path: Path
    keys: Mapping[int, bytes]
    created: Mapping[int, str]
    retired: Mapping[int, bytes] = field(default_factory=dict)
    prints: Mapping[int, bytes] = field(default_factory=dict)
    kms: KmsKey | None = None
    _newest: ClassVar[dict[Path, Keyring]] = {}  # that this process has read, by path

    def __repr__(self) -> str:
        return f"Keyring({self.path}, versions={list(self.keys)})"

    @property
    def current(self) -> int:
        """The version that seals: the newest whose time has come."""
        now = datetime.now(UTC)
        return max((v for v in self.keys if self.since(v) <= now), default=min(self.keys))

    def since(self, version: int) -> datetime:
        """From when on a version seals."""
        return datetime.fromisoformat(self.created[version]).astimezone(UTC)

    @classmethod
    def open_or_create(cls, path: Path, kms: KmsKey | None = None) -> Keyring:
        """Read the file, or make it with one fresh key; `kms` counts only then.

        Raises:
            ConfigurationError: it is broken, or others may read it.
            Unavailable: KMS does not answer.
        """
        if not path.exists():
            make_folder(path.parent)
            with _alone(path):
                if not path.exists():
                    cls(path, {}, {}, kms=kms)._with_version(1)._save()
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> Keyring:
        """Read the file.

        Raises:
            ConfigurationError: it is missing or broken, others may read it, or KMS refuses its key.
            Unavailable: KMS does not answer.
        """
        try:
            found = path.stat()
        except FileNotFoundError:
            raise ConfigurationError(
                f"there is no keyring {path}; put it back from its copy, name another place in SIDER_KEYRING_FILE, or, "
                "for a new service, make one: sider prepare"
            ) from None
        # PostgreSQL's rule for keys: 0640 is enough where root owns the file, as in a Secret that Kubernetes mounts.
        if found.st_mode & (0o037 if found.st_uid == 0 != os.geteuid() else 0o077):
            raise ConfigurationError(f"{path} can be read by others; run: chmod 600 {path}")
        return _read(path, (found.st_ino, found.st_mtime_ns, found.st_size))

    def latest(self) -> Keyring:
        """This ring as its file is now: a rotation reaches running processes with their next item.

        A file that is away for a moment takes nothing from a process that has read it; not the newest version, either,
        or it would seal by one that is about to be retired.
        """
        try:
            self._newest[self.path] = Keyring.open(self.path)
        except (ConfigurationError, Unavailable) as error:
            logger.warning("keyring_away", reason=str(error))
        return self._newest.get(self.path, self)

    def rotate(self, kms: KmsKey | None = None, delay: timedelta = timedelta()) -> Keyring:
        """One more, fresh key that seals after the delay, kept in the file; with `kms` all keys are encrypted by it."""
        with _alone(self.path):
            ring = Keyring.open(self.path)
            ring = replace(ring, kms=kms or ring.kms)
            return ring._with_version(max(ring.created) + 1, delay)._save()

    def retire(self, version: int) -> Keyring:
        """Destroy a version's key in the file; whatever it still seals is lost.

        Raises:
            StateConflict: there is no such key, or it is the one that seals.
        """
        with _alone(self.path):
            ring = Keyring.open(self.path)
            if version not in ring.keys or version >= ring.current:
                raise StateConflict(f"version {version} is no key that has been replaced by a newer one")
            keys = {number: key for number, key in ring.keys.items() if number != version}
            public = ring.verify_key(version).public_bytes_raw()
            retired, prints = {**ring.retired, version: public}, ring.fingerprint_keys()
            kept = {number: prints[number] for number in retired if number in prints}
            return replace(ring, keys=keys, retired=retired, prints=kept)._save()

    def signing_key(self) -> Ed25519PrivateKey:
        """The current version's."""
        return _signing_key(self.keys[self.current])

    def verify_key(self, version: int) -> Ed25519PublicKey:
        """Of any version there ever was (KeyError)."""
        if version in self.keys:
            return _signing_key(self.keys[version]).public_key()
        return Ed25519PublicKey.from_public_bytes(self.retired[version])

    def fingerprint_keys(self) -> dict[int, bytes]:
        """Of every version, also retired ones; see core.vault.provenance."""
        return {**self.prints, **{version: _derived(key, PRINTS) for version, key in self.keys.items()}}

    def _with_version(self, version: int, delay: timedelta = timedelta()) -> Keyring:
        since = (datetime.now(UTC) + delay).isoformat(timespec="microseconds")
        keys = {**self.keys, version: secrets.token_bytes(KEY_BYTES)}
        return replace(self, keys=keys, created={**self.created, version: since})

    def _save(self) -> Keyring:
        """Write the file, all or nothing: a new one with mode 0600, else with owner and mode of the one it replaces.

        Raises:
            ConfigurationError: this user may not give it to that owner, whose processes could read it no more.
        """
        rows = {
            str(version): {"created": created}
            | ({"key": self._wrapped(self.keys[version], version)} if version in self.keys else {})
            | ({"retired": _encoded(self.retired[version])} if version in self.retired else {})
            | ({"prints": self._wrapped(self.prints[version], version)} if version in self.prints else {})
            for version, created in self.created.items()
        }
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=self.path.name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                self._hand_over(handle)
                json.dump({"keys": rows} | ({"kms": self.kms.key_id} if self.kms else {}), file, indent=1)
                settle(file)
            rename(Path(name), self.path)  # items may be sealed by its keys at once
        finally:
            Path(name).unlink(missing_ok=True)  # a disk that is full must not leave keys about
        return self

    def _hand_over(self, handle: int) -> None:
        with suppress(FileNotFoundError):
            now = self.path.stat()
            try:
                os.fchown(handle, now.st_uid, now.st_gid)
            except PermissionError:
                raise ConfigurationError(f"{self.path} is another user's; change it as that user, or as root") from None
            os.fchmod(handle, stat.S_IMODE(now.st_mode))

    def _wrapped(self, key: bytes, version: int) -> str:
        return _encoded(self.kms.wrap(key, version) if self.kms else key)


# `stamp` changes with the file, so that a ring that is read for every item is parsed once.
@lru_cache(maxsize=8)
def _read(path: Path, stamp: tuple[int, int, int]) -> Keyring:  # noqa: ARG001
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rows, kms = content["keys"], KmsKey(str(content["kms"])) if "kms" in content else None
        keys, prints = dict[int, bytes](), dict[int, bytes]()
        created, retired = {}, {}
        for version, row in sorted((int(version), row) for version, row in rows.items()):
            created[version] = str(row["created"])
            datetime.fromisoformat(created[version])
            if "retired" in row:
                retired[version] = _decoded(row["retired"])
            for name, found in (("key", keys), ("prints", prints)):
                if name in row:
                    key = _decoded(row[name])
                    found[version] = kms.unwrap(key, version) if kms else key
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"the keyring {path} cannot be read: {type(error).__name__}") from None
    known = (*keys.values(), *retired.values(), *prints.values())
    if not keys or keys.keys() | retired.keys() != created.keys() or any(len(key) != KEY_BYTES for key in known):
        raise ConfigurationError(f"the keyring {path} holds no valid keys")
    return Keyring(path, keys, created, retired, prints, kms)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time changes a ring: of two rotations at once one would overwrite the other's key.

    Raises:
        ConfigurationError: the folder takes no file.
    """
    try:
        file = path.with_suffix(".lock").open("a", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path.parent} cannot be written to: {type(error).__name__}") from None
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _signing_key(key: bytes) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(_derived(key, SIGNING))


def _derived(key: bytes, info: bytes) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=info).derive(key)


def _encoded(key: bytes) -> str:
    return base64.b64encode(key).decode()


def _decoded(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
