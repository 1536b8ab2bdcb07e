"""The audit log from the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from rich.console import Console

from core.jobs import database, heads
from core.jobs.audit import Audit
from core.jobs.tables import AuditEntry
from core.settings import Settings
from core.vault.keyring import Keyring
from core.vault.shelf import bucket
from sider.bars import counted


def verify_log(settings: Settings, console: Console, as_json: bool) -> int:
    """Check the log against itself and its signed heads; 0 when nothing is wrong (Unavailable)."""
    keyring, store = Keyring.open(settings.keyring_file), bucket(settings, settings.bucket_audit)
    with _log(settings) as audit, counted("audit log", console) as progress:
        found = heads.verify(audit, store, keyring, progress)
    if as_json:
        print(json.dumps(asdict(found)))  # noqa: T201
    for fault in () if as_json else found.faults:
        console.print(f"[red]{fault}[/]", highlight=False)
    verdict = f"[red]{len(found.faults)} faults[/]" if found.faults else "[green]complete and unaltered[/]"
    console.print(f"{found.entries} entries, {found.heads} signed heads, {found.unsigned} entries since: {verdict}")
    return 1 if found.faults else 0


def show_log(settings: Settings, limit: int, tenant: str | None, subject: str | None, as_json: bool) -> None:
    """Print the newest entries, oldest first."""
    with _log(settings) as audit:
        entries = audit.latest(limit, tenant, subject)
    if as_json:
        for entry in entries:
            print(json.dumps(_plain(entry)))  # noqa: T201
        return
    for entry in entries:
        print(_line(entry))  # noqa: T201


def _line(entry: AuditEntry) -> str:
    """An entry as a line of text, as long as it is: a table would fold ids until nobody could read or search them.

    What callers wrote is shown as JSON, so that none of it can steer the reader's terminal.
    """
    words = (entry.event, entry.outcome, entry.actor, entry.tenant or "-", entry.subject or "-")
    details = (f"{name}={json.dumps(value)}" for name, value in entry.details.items())
    return " ".join((f"{entry.seq:>6}", f"{entry.at:%Y-%m-%d %H:%M:%S}", *words, *details))


def _plain(entry: AuditEntry) -> dict[str, object]:
    values = {column.key: getattr(entry, column.key) for column in AuditEntry.__table__.columns}
    return values | {"at": entry.at.isoformat()}


@contextmanager
def _log(settings: Settings) -> Iterator[Audit]:
    database.upgrade(settings.database_url)
    engine = database.connect(settings.database_url)
    try:
        yield Audit(engine)
    finally:
        engine.dispose()
