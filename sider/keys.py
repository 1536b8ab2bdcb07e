"""API keys from the command line."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from rich.table import Column, Table

from core.errors import ConfigurationError
from core.jobs import database
from core.jobs.keys import ApiKeys
from core.jobs.tables import ApiKey
from core.jobs.webhooks import Webhooks
from core.settings import Settings
from core.vault.keyring import Keyring


def table_url(data: Path) -> str:
    """The job table that SIDER_DATABASE_URL names, else that of the local service in `data`.

    Raises:
        ConfigurationError: neither is there. Keys in a new, empty table would open nothing.
    """
    settings = Settings()
    if "database_url" in settings.model_fields_set:
        return settings.database_url
    if not (data / "sider.db").is_file():
        raise ConfigurationError(
            f"no service keeps its data in {data}; start it (sider up), name its folder (--data), or its database "
            "in SIDER_DATABASE_URL"
        )
    return f"sqlite:///{(data / 'sider.db').resolve()}"


def issue(url: str, tenant: str, scopes: tuple[str, ...], name: str, days: int | None) -> str:
    """The text of a new key."""
    expires = database.now() + timedelta(days=days) if days else None
    _, text = _keys(url).issue(tenant, scopes, name, expires)
    return text


def revoke(url: str, key_id: str) -> None:
    """End a key (NotFound)."""
    _keys(url).revoke(key_id)


def webhook_secret(url: str, tenant: str, data: Path) -> str:
    """A new secret for a tenant's webhooks, sealed by the service's keyring.

    Raises:
        ConfigurationError: neither SIDER_KEYRING_FILE nor `data` has the keyring.
        RequestRefused: unusable tenant name.
    """
    settings = Settings()
    named = "keyring_file" in settings.model_fields_set
    keyring = Keyring.open(settings.keyring_file if named else data / "keyring.json")
    database.upgrade(url)
    return Webhooks(database.connect(url)).new_secret(tenant, keyring)


def table(url: str) -> Table:
    """All keys, in the width of a plain terminal."""
    fixed = (Column(title, no_wrap=True) for title in ("id", "last used", "state"))
    rows = Table(*fixed, *(Column(title, overflow="fold") for title in ("tenant", "scopes", "name")))
    for key in _keys(url).all():
        used = f"{key.last_used_at:%Y-%m-%d}" if key.last_used_at else "never"
        rows.add_row(key.id, used, _state(key), key.tenant, key.scopes, key.name)
    return rows


def _state(key: ApiKey) -> str:
    if key.revoked_at:
        return "revoked"
    if key.expires_at is None:
        return "live"
    return f"{'until' if key.expires_at > database.now() else 'expired'} {key.expires_at:%Y-%m-%d}"


def _keys(url: str) -> ApiKeys:
    database.upgrade(url)
    return ApiKeys(database.connect(url))
