"""The auditor: walks table, queue and bucket and finds what was promised and is not so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import redis

from core.errors import SiderError
from core.jobs import heads
from core.jobs.audit import Audit
from core.jobs.message import QUEUE
from core.jobs.photos import Photos
from core.jobs.repository import Jobs
from core.jobs.states import ENDS, State
from core.jobs.tables import Job
from core.settings import Settings
from core.stages.validate import Limits, Photo, read_photo
from core.vault.custody import Custody
from core.vault.passwords import derive_key
from core.vault.restoration import Restoration
from core.vault.shelf import Shelf, bucket, protected_key, restored_key
from tests.faults.load import Kept, Ledger

ALLOWED = ("store_unavailable", "poisoned", "not_found", "restore_denied")
MADE_BY_STACK = "ready"


@dataclass(frozen=True)
class Auditor:
    """Over the service's own parts; `ledger` is what the clients know."""

    jobs: Jobs
    photos: Photos
    shelf: Shelf
    settings: Settings
    ledger: Ledger

    def violations(self) -> Iterator[str]:
        """All of them."""
        rows = {job.id: job for job in self.jobs.page(None, None, 10**6)}
        yield from self.ledger.broken
        yield from self._jobs(rows)
        for kept in self.ledger.photos.values():
            if rows[kept.job_id].state == State.succeeded and not kept.erased:
                yield from self._photo(kept)
        yield from self._queue()
        yield from self._store(rows)
        store = bucket(self.settings, self.settings.bucket_audit)
        yield from heads.verify(Audit(self.jobs.engine), store, self.shelf.keyring, lambda *_: None).faults

    def _jobs(self, rows: dict[str, Job]) -> Iterator[str]:
        """Each accepted job is there, ended once, for a reason; and no request was done twice."""
        told = Counter(
            (entry.details["job"], entry.outcome == "accepted")
            for entry in Audit(self.jobs.engine).walk(10**9)
            if "job" in entry.details and entry.event in ("protect", "restore")
        )
        for job_id in self.ledger.jobs.keys() - rows.keys():
            yield f"{job_id} was accepted and is not in the table"
        for job_id in rows.keys() - self.ledger.jobs.keys():
            yield f"{job_id} is in the table, and nobody was told so"
        for job in rows.values():
            if job.state not in ENDS:
                yield f"{job.id} has not ended: {job.state}"
            if (told[job.id, True], told[job.id, False]) != (1, 1):
                yield f"{job.id} began {told[job.id, True]} and ended {told[job.id, False]} times"
            if job.state == State.failed and (job.problem or {}).get("code") not in ALLOWED:
                yield f"{job.id} failed: {job.problem}"

    def _photo(self, kept: Kept) -> Iterator[str]:
        """Its key opens, and brings every variant back bit for bit."""
        photo = self.photos.get(kept.photo_id, "local")
        try:
            kdf = self.shelf.restoration_kdf("local", photo.made)
            key = derive_key(kept.password, *kdf) if kept.password and kdf else None
            packed = self.shelf.get_restoration("local", photo.made, key, Custody(kept.custody))
            for number in range(1, kept.variants + 1):
                data = self.shelf.get_protected("local", photo.made, number)
                pixels = read_photo(data, Limits(len(data), 10**8)).pixels
                if Photo(Restoration.unpack(packed).apply(pixels)).sha256 != kept.sha256:
                    yield f"{photo.id} comes back as another picture"
        except SiderError as error:
            yield f"{photo.id} does not come back: {error.code}"

    def _queue(self) -> Iterator[str]:
        client = redis.Redis.from_url(self.settings.broker_url.get_secret_value())
        if waiting := client.llen(QUEUE):
            yield f"{waiting} messages still wait"
        client.close()

    def _store(self, rows: dict[str, Job]) -> Iterator[str]:
        """Nothing lies there but what succeeded and was not erased or withdrawn."""
        keys, photos = {MADE_BY_STACK}, {MADE_BY_STACK}
        erased = {kept.photo_id for kept in self.ledger.photos.values() if kept.erased}
        for job in rows.values():
            if job.state != State.succeeded or job.photo_id in erased:
                continue
            if job.kind == "protect":
                made = self.photos.get(job.photo_id, "local").made
                keys.add(f"local/restoration/{made}")
                photos |= {protected_key("local", made, n + 1) for n in range(job.request["variants"])}
            elif not job.withdrawn_at:
                photos.add(restored_key("local", job.id))
        for name, blobs, expected in (("keys", self.shelf.keys, keys), ("photos", self.shelf.photos, photos)):
            found = set(blobs.names())
            yield from (f"orphan in {name}: {key}" for key in found - expected)
            yield from (f"missing in {name}: {key}" for key in expected - found)
