"""API keys from the command line."""

from __future__ import annotations

from datetime import timedelta

from rich.table import Column, Table

from core.jobs import database
from core.jobs.keys import ApiKeys
from core.jobs.tables import ApiKey
from core.jobs.webhooks import Webhooks
from core.settings import Settings
from core.vault.keyring import Keyring


def issue(url: str, tenant: str, scopes: tuple[str, ...], name: str, days: int | None) -> str:
    """The text of a new key."""
    expires = database.now() + timedelta(days=days) if days else None
    _, text = _keys(url).issue(tenant, scopes, name, expires)
    return text


def revoke(url: str, key_id: str) -> None:
    """End a key (NotFound)."""
    _keys(url).revoke(key_id)


def webhook_secret(settings: Settings, tenant: str) -> str:
    """A new secret for a tenant's webhooks, sealed by the service's keyring.

    Raises:
        ConfigurationError: there is no keyring. Sealed by a new one nobody could sign with it.
        RequestRefused: unusable tenant name.
    """
    keyring = Keyring.open(settings.keyring_file)
    database.upgrade(settings.database_url)
    return Webhooks(database.connect(settings.database_url)).new_secret(tenant, keyring)


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
