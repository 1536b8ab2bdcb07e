"""The service's key-encryption keys: versions in one file, of which the newest seals and all can open."""

from __future__ import annotations

import base64
import json
import os
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from core.errors import ConfigurationError

KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Keyring:
    """keys: {version: 32 bytes}, oldest first. `repr` hides them."""

    path: Path
    keys: Mapping[int, bytes]
    created: Mapping[int, str]

    def __repr__(self) -> str:
        return f"Keyring({self.path}, versions={list(self.keys)})"

    @property
    def current(self) -> int:
        """The version that seals."""
        return max(self.keys)

    @classmethod
    def open_or_create(cls, path: Path) -> Keyring:
        """Read the file, or make it with one fresh key.

        Raises:
            ConfigurationError: it is broken, or others may read it.
        """
        if path.exists():
            return cls.open(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        ring = cls(path, {}, {}).rotated(1)
        try:
            # Exclusive creation: of two processes that start together one makes the ring, the other reads it.
            os.close(os.open(path.with_suffix(".lock"), os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            if not path.exists():
                raise ConfigurationError(f"another process is making {path}; start again") from None
            return cls.open(path)
        ring.save()
        path.with_suffix(".lock").unlink()
        return ring

    @classmethod
    def open(cls, path: Path) -> Keyring:
        """Read the file.

        Raises:
            ConfigurationError: it is missing or broken, or others may read it.
        """
        try:
            if path.stat().st_mode & 0o077:
                raise ConfigurationError(f"{path} can be read by others; run: chmod 600 {path}")
            rows = json.loads(path.read_text(encoding="utf-8"))["keys"]
            keys = {int(v): base64.b64decode(row["key"], validate=True) for v, row in rows.items()}
            created = {int(v): str(row["created"]) for v, row in rows.items()}
        except FileNotFoundError:
            raise ConfigurationError(
                f"there is no keyring {path}; name the one that sealed the keys in SIDER_KEYRING_FILE"
            ) from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigurationError(f"the keyring {path} cannot be read: {type(error).__name__}") from None
        if not keys or any(len(key) != KEY_BYTES for key in keys.values()):
            raise ConfigurationError(f"the keyring {path} holds no valid keys")
        return cls(path, dict(sorted(keys.items())), created)

    def rotated(self, version: int | None = None) -> Keyring:
        """This ring with one more, fresh key that seals from now on; `save` makes it last."""
        number = version or self.current + 1
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return Keyring(self.path, {**self.keys, number: secrets.token_bytes(KEY_BYTES)}, {**self.created, number: now})

    def save(self) -> None:
        """Write the file, mode 0600, all or nothing."""
        rows = {
            str(v): {"key": base64.b64encode(key).decode(), "created": self.created[v]} for v, key in self.keys.items()
        }
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=self.path.name)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"keys": rows}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(self.path)
