"""What a service needs before it starts, made as far as it is missing."""

from __future__ import annotations

from core.jobs import database
from core.settings import Settings
from core.vault import shelf

AUDIT_LOCK_DAYS = 30  # nothing in this bucket can be deleted before: the audit log is verified against it


def prepare(settings: Settings) -> None:
    """Schema, keyring and buckets (ConfigurationError, Unavailable)."""
    database.upgrade(settings.database_url)
    shelf.connect(settings)
    make_buckets(settings)


def make_buckets(settings: Settings) -> None:
    """Buckets that take objects (Unavailable)."""
    locked = {settings.bucket_photos: 0, settings.bucket_keys: 0, settings.bucket_audit: AUDIT_LOCK_DAYS}
    for name, days in locked.items():
        store = shelf.bucket(settings, name)
        store.create_bucket(days)
        store.put_once("ready", b"")
