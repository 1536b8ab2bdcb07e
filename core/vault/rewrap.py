"""Move the sealed items of a live store to the keyring's current key, one at a time and each all or nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from core.errors import NotFound, RestoreDenied, StateConflict
from core.vault.envelope import Binding, key_version, rewrap
from core.vault.keyring import Keyring

Progress = Callable[[int, int], None]  # items done, items in all


class Tagged(Protocol):
    """Where sealed items lie, bucket or table. `replace` writes what has not changed since `get_tagged` (NotFound)
    and tells whether it did."""

    def get_tagged(self, key: str) -> tuple[bytes, str]: ...
    def replace(self, key: str, data: bytes, tag: str) -> bool: ...


class Item(NamedTuple):
    """A sealed item: where it lies, and what it is bound to."""

    store: Tagged
    key: str
    binding: Binding


@dataclass
class Rewrapped:
    """moved: now under the current key; the others were so before, need no keyring, or went away meanwhile.
    broken: names of items that this keyring cannot unwrap."""

    items: int = 0
    moved: int = 0
    broken: list[str] = field(default_factory=list)


def rewrap_all(items: Sequence[Item], ring: Keyring, progress: Progress) -> Rewrapped:
    """Rewrap items that are in use. What an interrupted run has done the next one finds done.

    Raises:
        Unavailable: the store does not answer; go on by running it again.
    """
    result = Rewrapped()
    for item in items:
        try:
            result.moved += _rewrap_item(item, ring)
        except RestoreDenied:
            result.broken.append(item.key)
        result.items += 1
        progress(result.items, len(items))
    return result


def check_unused(items: Sequence[Item], version: int, progress: Progress) -> None:
    """Insist that no item needs a version of the keyring any more.

    Raises:
        StateConflict: one does, or may.
        Unavailable: the store does not answer.
    """
    for done, item in enumerate(items, 1):
        try:
            used = key_version(item.store.get_tagged(item.key)[0]) == version
        except NotFound:
            continue
        except RestoreDenied:
            raise StateConflict(f"{item.key} is damaged: which key it needs cannot be told") from None
        if used:
            raise StateConflict(f"{item.key} still needs version {version}; run: sider keyring rewrap")
        progress(done, len(items))


def _rewrap_item(item: Item, ring: Keyring) -> bool:
    """Whether it was moved."""
    while True:
        try:
            sealed, tag = item.store.get_tagged(item.key)
        except NotFound:
            return False
        if key_version(sealed) in (None, ring.current):
            return False
        # Only what is still there and unchanged: a plain write would bring back a key that was destroyed meanwhile.
        if item.store.replace(item.key, rewrap(sealed, item.binding, ring), tag):
            return True
