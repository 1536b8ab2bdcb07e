"""What a service needs before it starts, made as far as it is missing."""

from __future__ import annotations

from core.jobs import database
from core.settings import Settings
from core.vault import shelf
from core.vault.keyring import Keyring
from core.vault.kms import KmsKey

AUDIT_LOCK_DAYS = 30  # nothing in this bucket can be deleted before: the audit log is verified against it
READY = "ready"  # an object that shows that a bucket takes objects


def prepare(settings: Settings) -> None:
    """Schema, buckets and keyring (ConfigurationError, Unavailable)."""
    database.upgrade(settings.database_url)
    make_buckets(settings)
    make_keyring(settings)


def make_buckets(settings: Settings) -> None:
    """Buckets that take objects (Unavailable)."""
    locked = {settings.bucket_photos: 0, settings.bucket_keys: 0, settings.bucket_audit: AUDIT_LOCK_DAYS}
    for name, days in locked.items():
        store = shelf.bucket(settings, name)
        store.create_bucket(days)
        store.put_once(READY, b"")


def make_keyring(settings: Settings) -> None:
    """A fresh keyring for a store without keys; another would open nothing and hide that theirs is gone.

    Raises:
        ConfigurationError: it is gone or broken, or others may read it.
        Unavailable: the store or KMS does not answer.
    """
    if any(name != READY for name in shelf.bucket(settings, settings.bucket_keys).names()):
        Keyring.open(settings.keyring_file)
    else:
        Keyring.open_or_create(settings.keyring_file, KmsKey(settings.kms_key_id) if settings.kms_key_id else None)
