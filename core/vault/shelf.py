"""Where each kind of object lies, and how it is sealed: one place for API, worker and tests.

Photos bucket: sealed uploads, protected pictures, restored pictures (short-lived). Keys bucket: sealed
restoration keys and the secrets of jobs on their way; nothing of it is ever linked to.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from core.errors import RestoreDenied, Unavailable
from core.settings import Settings
from core.vault import provenance
from core.vault.blobs import Blobs, S3Blobs
from core.vault.custody import Custody
from core.vault.envelope import Binding, kdf_of, key_version, open_sealed, seal
from core.vault.keyring import Keyring
from core.vault.passwords import KdfCost, Lock
from core.vault.rewrap import Item

PNG = "image/png"
# Folder of a tenant -> the purpose its items are sealed for.
PURPOSES = {"restoration": "restoration", "secrets": "job-secret", "incoming": "upload"}


@dataclass(frozen=True, slots=True)
class Shelf:
    """Both buckets and the keyring."""

    photos: Blobs
    keys: Blobs
    keyring: Keyring

    @property
    def _ring(self) -> Keyring:
        return self.keyring.latest()

    def _open(self, sealed: bytes, binding: Binding, password_key: bytes | None = None) -> bytes:
        """What an item holds (RestoreDenied; Unavailable: this process does not know the version that sealed it)."""
        ring, version = self._ring, key_version(sealed)
        if version is not None and version not in ring.created:
            # Another process has read a newer file. Called a refusal, an accepted photo would be given up.
            raise Unavailable(f"the keyring here has no version {version} yet", code="keyring_behind")
        return open_sealed(sealed, binding, ring, password_key)

    # Uploads wait sealed: the store never sees a customer's face unprotected.
    def put_upload(self, tenant: str, job_id: str, data: bytes) -> None:
        sealed = seal(data, Binding(tenant, job_id, "upload"), self._ring)
        self.photos.put(f"{tenant}/incoming/{job_id}", sealed)

    def get_upload(self, tenant: str, job_id: str) -> bytes:
        sealed = self.photos.get(f"{tenant}/incoming/{job_id}")
        return self._open(sealed, Binding(tenant, job_id, "upload"))

    # The password itself stays in the API process; what travels is the key derived from it, sealed to the job.
    def put_secret(self, tenant: str, job_id: str, lock: Lock) -> None:
        cost = [lock.cost.time, lock.cost.memory_kib, lock.cost.lanes]
        plain = json.dumps({"key": lock.key.hex(), "salt": lock.salt.hex(), "cost": cost}).encode()
        sealed = seal(plain, Binding(tenant, job_id, "job-secret"), self._ring)
        self.keys.put(f"{tenant}/secrets/{job_id}", sealed)

    def get_secret(self, tenant: str, job_id: str) -> Lock:
        sealed = self.keys.get(f"{tenant}/secrets/{job_id}")
        plain = json.loads(self._open(sealed, Binding(tenant, job_id, "job-secret")))
        return Lock(bytes.fromhex(plain["key"]), bytes.fromhex(plain["salt"]), KdfCost(*plain["cost"]))

    def drop_job(self, tenant: str, job_id: str) -> None:
        """Secret first: should the second call fail, what is left cannot be used."""
        self.keys.delete(f"{tenant}/secrets/{job_id}")
        self.photos.delete(f"{tenant}/incoming/{job_id}")

    def put_restoration(
        self, tenant: str, made: str, packed: bytes, lock: Lock | None, custody: Custody = Custody.SPLIT
    ) -> None:
        """Seal what makes a photo whole again; `lock` is None in custody server, and only there.

        made: names the objects of one run for one photo, see core.jobs.tables.
        """
        if (lock is None) != (custody is Custody.SERVER):
            raise ValueError(f"custody {custody} with{'out' if lock is None else ''} a lock")
        ring = None if custody is Custody.CALLER else self._ring
        sealed = seal(packed, Binding(tenant, made, "restoration"), ring, lock)
        self.keys.put(f"{tenant}/restoration/{made}", sealed)

    def get_restoration(
        self, tenant: str, made: str, password_key: bytes | None, custody: Custody = Custody.SPLIT
    ) -> bytes:
        """What makes a photo whole again (NotFound, RestoreDenied)."""
        sealed = self.keys.get(f"{tenant}/restoration/{made}")
        # Without a keyring anybody can seal: who can write to the bucket must not replace other photos' keys so.
        if (key_version(sealed) is None) != (custody is Custody.CALLER):
            raise RestoreDenied
        return self._open(sealed, Binding(tenant, made, "restoration"), password_key)

    def restoration_kdf(self, tenant: str, made: str) -> tuple[bytes, KdfCost] | None:
        """Salt and cost of a photo's restoration key; None if it needs no password (NotFound, RestoreDenied)."""
        return kdf_of(self.keys.get(f"{tenant}/restoration/{made}"))

    def drop_restoration(self, tenant: str, made: str) -> None:
        self.keys.delete(f"{tenant}/restoration/{made}")

    def fingerprint(self, pixels_sha256: str) -> str:
        """What a picture that is made now will be known by."""
        return provenance.fingerprint(pixels_sha256, self._ring)

    def candidates(self, pixels_sha256: str) -> list[str]:
        """What a picture would be known by if it was made here."""
        return provenance.candidates(pixels_sha256, self._ring)

    def drop_photo(self, tenant: str, names: Sequence[str], variants: int) -> None:
        """Keys first: should a later call fail, nothing can be restored any more."""
        for made in names:
            self.drop_restoration(tenant, made)
        for made in names:
            for number in range(1, variants + 1):
                self.photos.delete(protected_key(tenant, made, number))

    def of_jobs(self, tenant: str, before: datetime) -> Iterator[str]:
        """Ids of the jobs whose upload, secret or restored original was stored before that time."""
        for blobs, folder in ((self.keys, "secrets"), (self.photos, "incoming"), (self.photos, "restored")):
            for key in blobs.names(f"{tenant}/{folder}/", before):
                yield key.rpartition("/")[2].removesuffix(".png")

    def items(self) -> Iterator[Item]:
        """Every sealed item of the store, in the order of its listing."""
        for blobs in (self.keys, self.photos):
            for key in blobs.names():
                tenant, _, rest = key.partition("/")
                folder, _, subject = rest.partition("/")
                if folder in PURPOSES:
                    yield Item(blobs, key, Binding(tenant, subject, PURPOSES[folder]))

    def put_protected(self, tenant: str, made: str, variant: int, png: bytes) -> None:
        self.photos.put(protected_key(tenant, made, variant), png, PNG)

    def get_protected(self, tenant: str, made: str, variant: int) -> bytes:
        return self.photos.get(protected_key(tenant, made, variant))

    def put_restored(self, tenant: str, job_id: str, png: bytes) -> None:
        self.photos.put(restored_key(tenant, job_id), png, PNG)

    def get_restored(self, tenant: str, job_id: str) -> bytes:
        return self.photos.get(restored_key(tenant, job_id))

    def drop_restored(self, tenant: str, job_id: str) -> None:
        self.photos.delete(restored_key(tenant, job_id))


def connect(settings: Settings) -> Shelf:
    """Both buckets and the keyring of an environment (as `Keyring.open`)."""
    photos, keys = bucket(settings, settings.bucket_photos), bucket(settings, settings.bucket_keys)
    return Shelf(photos, keys, Keyring.open(settings.keyring_file))


def bucket(settings: Settings, name: str) -> S3Blobs:
    """A bucket of an environment's store."""
    credentials = None
    if settings.s3_access_key and settings.s3_secret_key:
        credentials = (settings.s3_access_key.get_secret_value(), settings.s3_secret_key.get_secret_value())
    return S3Blobs(
        name,
        settings.s3_endpoint,
        settings.s3_region,
        credentials,
        settings.s3_checksums,
        settings.s3_link_endpoint,
    )


def protected_key(tenant: str, made: str, variant: int) -> str:
    """Object key of a protected variant, counted from 1."""
    return f"{tenant}/protected/{made}/v{variant}.png"


def restored_key(tenant: str, job_id: str) -> str:
    """Object key of a restored original."""
    return f"{tenant}/restored/{job_id}.png"
