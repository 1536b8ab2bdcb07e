"""The service's calls as flows; see effects.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from core.errors import RequestRefused, StateConflict
from core.jobs.states import State
from sider.client.effects import Flow
from sider.client.models import (
    Accepted,
    AcceptedBatch,
    Batch,
    Erased,
    Job,
    JobOptions,
    JobPage,
    Photo,
    Progress,
    ProtectOptions,
    Verified,
)
from sider.client.problems import error_of
from sider.client.requests import Requests, Upload, save
from sider.client.watch import Watch


@dataclass(frozen=True, slots=True)
class Flows(Requests):
    """The calls of Client and AsyncClient."""

    def protect(
        self, photo: Upload, *, idempotency_key: str | None = None, **options: Unpack[ProtectOptions]
    ) -> Flow[Accepted]:
        """Have a photo protected. A name of the file is not sent.

        Raises:
            PhotoRefused, RequestRefused: it cannot be.
            AccessDenied, TooMany, Unavailable: not with this key, or not now.
        """
        answer = yield from self.post("/protect", options, [photo], idempotency_key)
        return Accepted.model_validate_json(answer.content)

    def protect_batch(
        self, photos: Sequence[Upload], *, idempotency_key: str | None = None, **options: Unpack[ProtectOptions]
    ) -> Flow[AcceptedBatch]:
        """Have two photos or more protected by one request: all are accepted, or none is.

        Raises:
            RequestRefused: fewer than two; or `details["photos"]` has the problem of each refused photo, by its number
                from 0.
            AccessDenied, TooMany, Unavailable: as protect.
        """
        if len(photos) < 2:  # before the service takes one for a job, whose restore code nobody would read
            raise RequestRefused(f"a batch of {len(photos)}: it has two photos or more; protect takes one")
        answer = yield from self.post("/protect", options, photos, idempotency_key)
        return AcceptedBatch.model_validate_json(answer.content)

    def restore(
        self,
        photo_id: str,
        *,
        reason: str,
        password: str | None = None,
        photo: Upload | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[JobOptions],
    ) -> Flow[Accepted]:
        """Have an original restored; `reason` is kept in the audit log. photo: a protected file of one's own.

        Raises:
            NotFound, RequestRefused, AccessDenied, TooMany, Unavailable.
        """
        form = {"photo_id": photo_id, "reason": reason, "password": password, **options}
        answer = yield from self.post("/restore", form, [] if photo is None else [photo], idempotency_key)
        return Accepted.model_validate_json(answer.content)

    def job(self, job_id: str) -> Flow[Job]:
        """A job as it is. Of a restore that has succeeded only one answer has the link (NotFound)."""
        return Job.model_validate_json((yield from self.ask("GET", f"/jobs/{job_id}")).content)

    def jobs(self, state: State | None = None, cursor: str | None = None, limit: int = 50) -> Flow[JobPage]:
        """A page of all jobs, for keys with the scope `ops`."""
        params = {name: value for name, value in (("state", state), ("cursor", cursor), ("limit", limit)) if value}
        return JobPage.model_validate_json((yield from self.ask("GET", "/jobs", params=params)).content)

    def cancel(self, job_id: str) -> Flow[Job]:
        """End a job; may be repeated (NotFound, StateConflict: it had ended before)."""
        return Job.model_validate_json((yield from self.ask("DELETE", f"/jobs/{job_id}")).content)

    def batch(self, batch_id: str) -> Flow[Batch]:
        """The jobs of photos that were sent together (NotFound)."""
        return Batch.model_validate_json((yield from self.ask("GET", f"/batches/{batch_id}")).content)

    def cancel_batch(self, batch_id: str) -> Flow[Batch]:
        """End all its jobs that have not ended; may be repeated (NotFound)."""
        return Batch.model_validate_json((yield from self.ask("DELETE", f"/batches/{batch_id}")).content)

    def photo(self, photo_id: str) -> Flow[Photo]:
        """The promise as measured, and links to the protected variants (NotFound)."""
        return Photo.model_validate_json((yield from self.ask("GET", f"/photos/{photo_id}")).content)

    def verify(self, photo: Upload) -> Flow[Verified]:
        """Was this picture made by the service? (PhotoRefused)"""
        answer = yield from self.ask("POST", "/photos/verify", uploads=[photo])
        return Verified.model_validate_json(answer.content)

    def erase(self, photo_id: str) -> Flow[Erased]:
        """Destroy a photo's key, then its pictures. NotFound after a lost connection: it was erased."""
        return Erased.model_validate_json((yield from self.ask("DELETE", f"/photos/{photo_id}")).content)

    def wait(
        self, job_id: str, *, timeout: float | None = None, told: Callable[[Progress], None] = lambda _: None
    ) -> Flow[Job]:
        """The job when it has succeeded; `told` is called whenever it has changed. timeout: seconds.

        Raises:
            PromiseNotMet, NoFaceFound, RestoreDenied, SiderError: what came of it instead.
            StateConflict: `job_cancelled`.
            TimeoutError: it has not ended by then; it goes on.
        """
        watch = Watch(self, job_id, timeout)
        try:
            while progress := (yield from watch.next()):
                told(progress)
        finally:
            yield from watch.close()
        job = watch.job or (yield from self.job(job_id))
        if job.problem:
            raise error_of(job.problem)
        if job.state is State.cancelled:
            raise StateConflict("the job was cancelled", code="job_cancelled")
        return job

    def download(self, photo_id: str, target: Path, *, variant: int = 1) -> Flow[Path]:
        """Write a protected picture to a file, whole or not at all; the link is fetched anew for each attempt.

        Raises:
            NotFound: no such photo.
            RequestRefused: it has no such variant.
            Unavailable: the store gives nothing, or something damaged.
        """

        def attempt() -> Flow[Path]:
            photo = yield from self.photo(photo_id)
            if not 1 <= variant <= len(photo.variants):
                raise RequestRefused(f"{photo_id} has {len(photo.variants)} variants; asked for number {variant}")
            return (yield from save(photo.variants[variant - 1].link, target))

        return (yield from self.again(attempt))

    def download_restored(self, job: Job, target: Path) -> Flow[Path]:
        """Write the original that `wait` has told of to a file, whole or not at all.

        Raises:
            StateConflict: another answer had the link.
            Unavailable: as download.
        """

        if not (link := (job.result or {}).get("link")):
            raise StateConflict("the link was given before, and is given once; restore the photo again")
        return (yield from self.again(lambda: save(link, target)))
