"""The audit log from the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column, Table

from core.jobs import database, heads
from core.jobs.audit import Audit
from core.jobs.tables import AuditEntry
from core.settings import Settings
from core.vault.keyring import Keyring
from core.vault.shelf import bucket


def verify_log(settings: Settings, console: Console, as_json: bool) -> int:
    """Check the log against itself and its signed heads; 0 when nothing is wrong (Unavailable)."""
    keyring, store = Keyring.open(settings.keyring_file), bucket(settings, settings.bucket_audit)
    columns = (TextColumn("audit log"), BarColumn(), MofNCompleteColumn())
    with _log(settings) as audit, Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("entries", total=None)
        found = heads.verify(audit, store, keyring, lambda done, all_: bar.update(task, completed=done, total=all_))
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
    fixed = (Column(title, no_wrap=True) for title in ("", "time (UTC)", "event", "outcome"))
    table = Table(*fixed, *(Column(title, overflow="fold") for title in ("by", "tenant", "subject", "details")))
    for entry in entries:
        details = ", ".join(f"{name} {value}" for name, value in entry.details.items())
        row = (entry.event, entry.outcome, entry.actor, entry.tenant, entry.subject, details)
        table.add_row(str(entry.seq), f"{entry.at:%Y-%m-%d %H:%M:%S}", *map(escape, row))
    Console().print(table)


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
