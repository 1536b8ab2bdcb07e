"""The service's keyring from the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine

from core.errors import StateConflict
from core.jobs import database
from core.jobs.audit import Audit, Entry
from core.jobs.webhooks import Webhooks
from core.settings import Settings
from core.vault import rewrap, shelf
from core.vault.keyring import Keyring
from core.vault.kms import KmsKey
from sider.bars import counted

# A process on another machine may see a new version as late as its copy of the file comes, and may then be at
# work on an item for as long as a job takes.
SETTLED_SECONDS = 3600.0


def versions(settings: Settings) -> Table:
    """All versions there ever were; keys are not shown."""
    ring = Keyring.open(settings.keyring_file)
    table = Table("version", "seals from", "state")
    for version, created in ring.created.items():
        state = "retired" if version in ring.retired else "opens"
        if version >= ring.current:
            state = "seals and opens" if version == ring.current else "opens, will seal"
        table.add_row(str(version), created, state)
    return table


def rotate(settings: Settings, minutes: int) -> int:
    """Make a new version with which running processes seal after so many minutes."""
    ring = Keyring.open(settings.keyring_file)
    kms = KmsKey(settings.kms_key_id) if settings.kms_key_id else None
    with _recorded(settings, "rotated", str(max(ring.created) + 1)):
        return max(ring.rotate(kms, timedelta(minutes=minutes)).keys)


def rewrap_all(settings: Settings, console: Console) -> int:
    """Move everything to the current version; 0 when nothing is left behind (Unavailable)."""
    ring = Keyring.open(settings.keyring_file)
    version = str(ring.current)
    with _recorded(settings, "rewrapped", version) as engine, counted("items", console) as progress:
        done = rewrap.rewrap_all(_items(settings, engine), ring, progress)
    console.print(f"{done.items} items, {done.moved} moved to version {version}")
    for name in done.broken:
        console.print(f"[red]left as it is[/]: {name} cannot be unwrapped; it is damaged, or of another keyring")
    return 1 if done.broken else 0


def retire(settings: Settings, version: int, console: Console) -> None:
    """Destroy a version that nothing needs.

    Raises:
        StateConflict: something needs it, or may: it was replaced less than SETTLED_SECONDS ago.
    """
    ring = Keyring.open(settings.keyring_file)
    age = (datetime.now(UTC) - ring.since(ring.current)).total_seconds()
    if age < SETTLED_SECONDS:
        wait = (SETTLED_SECONDS - age) / 60
        raise StateConflict(f"version {version} was replaced a moment ago and may be in use; wait {wait:.0f} minutes")
    with _recorded(settings, "retired", str(version)) as engine, counted("items", console) as progress:
        rewrap.check_unused(_items(settings, engine), version, progress)
        ring.retire(version)


def _items(settings: Settings, engine: Engine) -> list[rewrap.Item]:
    """Everything that the keyring has sealed, wherever it is kept."""
    return [*shelf.connect(settings).items(), *Webhooks(engine).items()]


@contextmanager
def _recorded(settings: Settings, outcome: str, version: str) -> Iterator[Engine]:
    """Tell the audit log before and after; without it nothing is done."""
    database.upgrade(settings.database_url)
    engine = database.connect(settings.database_url)
    attempt = Entry("keyring", outcome, "operator", subject=version)
    try:
        log = Audit(engine)
        log.record(Entry("keyring", "accepted", "operator", subject=version, details={"wish": outcome}))
        with log.refusals(attempt):
            yield engine
        log.record(attempt)
    finally:
        engine.dispose()
