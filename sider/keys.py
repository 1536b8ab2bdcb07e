"""API keys from the command line, on the database that SIDER_DATABASE_URL names."""

from __future__ import annotations

from datetime import timedelta

from rich.table import Column, Table

from core.jobs import database
from core.jobs.keys import ApiKeys
from core.settings import Settings


def issue(tenant: str, scopes: tuple[str, ...], name: str, days: int | None) -> str:
    """The text of a new key."""
    expires = database.now() + timedelta(days=days) if days else None
    _, text = _keys().issue(tenant, scopes, name, expires)
    return text


def revoke(key_id: str) -> None:
    """End a key (NotFound)."""
    _keys().revoke(key_id)


def table() -> Table:
    """All keys."""
    rows = Table(Column("id", no_wrap=True), "tenant", "name", "scopes", "created", "expires", "last used", "state")
    for key in _keys().all():
        times = (f"{t:%Y-%m-%d %H:%M}" if t else "-" for t in (key.created_at, key.expires_at, key.last_used_at))
        rows.add_row(key.id, key.tenant, key.name, key.scopes, *times, "revoked" if key.revoked_at else "live")
    return rows


def _keys() -> ApiKeys:
    url = Settings().database_url
    database.upgrade(url)
    return ApiKeys(database.connect(url))
