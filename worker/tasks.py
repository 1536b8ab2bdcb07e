"""A job from claim to end: claim -> objects -> engine -> objects -> finish."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from core.errors import NotFound, RestoreDenied, SiderError, StateConflict, Unavailable
from core.jobs.database import now
from core.jobs.tables import Job
from core.pipeline import Request
from core.stages.validate import Limits, read_photo
from core.vault.shelf import Shelf
from worker.context import Context

logger = structlog.get_logger(__name__)


def run(job_id: str, context: Context) -> None:
    """Do one job. Duplicates and stale messages find nothing to claim and end here."""
    job = context.jobs.claim(job_id, context.settings.lease_seconds)
    if job is None:
        logger.info("nothing_to_claim", job_id=job_id)
        return
    log = logger.bind(job_id=job.id, attempt=job.attempt, kind=job.kind)
    log.info("claimed")
    try:
        with Heart(context, job) as heart:
            work = {"protect": protect, "restore": restore}[job.kind]
            result, photo = work(job, context, heart.beat)
        context.jobs.finish(job.id, job.attempt, result, photo)
        log.info("succeeded")
    except StateConflict:
        log.warning("lease_lost")  # another attempt has it, and its objects
        return
    except Unavailable as error:
        log.warning("handed_back", code=error.code)
        _hand_back(job, context, error)
        return
    except SiderError as error:
        log.info("failed", code=error.code)
        _fail(job, context, error.code, str(error), error.details)
    except Exception as error:
        # The kind of the error and where it was raised, not its text: that could hold what a customer sent.
        log.error("failed_unexpectedly", error=type(error).__name__, at=_place(error))  # noqa: TRY400
        _fail(job, context, "internal_error", "The engine failed; the operator's log has the reason.", {})
    _clean_up(job, context.shelf)


def protect(job: Job, context: Context, beat: Callable[[str, float], None]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Protect an upload; the restoration key is stored before the row says that there is a photo."""
    shelf, wish = context.shelf, job.request
    limits = Limits(context.settings.max_upload_bytes, context.settings.max_pixels)
    photo = read_photo(shelf.get_upload(job.tenant, job.id), limits)
    lock = shelf.get_secret(job.tenant, job.id)
    request = Request(wish["method"], wish["preset"], wish["variants"], wish["seed"], wish["faces"])
    outcome = context.engine.protect(photo, request, beat)
    beat("store", 0.0)
    shelf.put_restoration(job.tenant, job.photo_id, outcome.restoration.pack(), lock)
    for number, variant in enumerate(outcome.protected, 1):
        shelf.put_protected(job.tenant, job.photo_id, number, variant.to_png())
    result = {"photo_id": job.photo_id, "variants": len(outcome.protected), "report": outcome.report}
    return result, {"report": outcome.report, "protected_at": now()}


def restore(job: Job, context: Context, beat: Callable[[str, float], None]) -> tuple[dict[str, Any], None]:
    """Restore an original, from the caller's file or from the stored first variant."""
    shelf = context.shelf
    beat("open", 0.0)
    if job.request["uploaded"]:
        data = shelf.get_upload(job.tenant, job.id)
    else:
        data = shelf.get_protected(job.tenant, job.photo_id, 1)
    limits = Limits(max_bytes=max(len(data), 1), max_pixels=context.settings.max_pixels)
    protected = read_photo(data, limits)
    lock = shelf.get_secret(job.tenant, job.id)
    try:
        packed = shelf.get_restoration(job.tenant, job.photo_id, lock.key)
    except NotFound:
        raise RestoreDenied from None  # erased in between: the same answer as for a wrong password
    original = context.engine.restore(protected, packed)
    beat("store", 0.5)
    shelf.put_restored(job.tenant, job.id, original.to_png())
    return {"photo_id": job.photo_id, "sha256": original.sha256, "exact": True}, None


@dataclass
class Heart:
    """Renews a job's lease in a thread while the engine computes, and carries its progress."""

    context: Context
    job: Job
    step: str = "started"
    fraction: float = 0.0
    lost: bool = False
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Heart:
        self._thread = threading.Thread(target=self._pump, name="heart", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def beat(self, step: str, fraction: float) -> None:
        """What the engine reports; raises StateConflict once the lease is lost, to stop in vain work."""
        self.step, self.fraction = step, fraction
        if self.lost:
            raise StateConflict(f"attempt {self.job.attempt} of {self.job.id} has lost its lease")

    def _pump(self) -> None:
        lease = self.context.settings.lease_seconds
        while not self._stop.wait(min(1.0, lease / 4)):
            try:
                self.context.jobs.heartbeat(self.job.id, self.job.attempt, lease, self.step, self._overall())
            except StateConflict:
                self.lost = True
                return
            except Exception as error:
                # The database may be locked for a moment; the lease outlives several missed beats.
                logger.warning("heartbeat_missed", job_id=self.job.id, error=type(error).__name__)

    def _overall(self) -> float:
        """Progress of the whole job: the optimiser is nearly all of it."""
        spans = {
            "align": (0.0, 0.05),
            "optimise": (0.05, 0.85),
            "measure": (0.9, 0.05),
            "store": (0.95, 0.05),
        }
        start, length = spans.get(self.step, (0.0, 0.05))
        return round(start + length * self.fraction, 3)


def _hand_back(job: Job, context: Context, error: Unavailable) -> None:
    if job.attempt >= context.settings.max_attempts:
        _fail(job, context, error.code, str(error), error.details)
        return
    try:
        context.jobs.release(job.id, job.attempt)
    except StateConflict:
        logger.warning("lease_lost", job_id=job.id)


def _fail(job: Job, context: Context, code: str, message: str, details: dict[str, Any]) -> None:
    try:
        context.jobs.fail(job.id, job.attempt, {"code": code, "message": message, "details": details})
    except StateConflict:
        logger.warning("lease_lost", job_id=job.id)


def _clean_up(job: Job, shelf: Shelf) -> None:
    """The upload and the secret have served; if the store is away retention will find them."""
    try:
        shelf.drop_job(job.tenant, job.id)
    except Unavailable as error:
        logger.warning("clean_up_postponed", job_id=job.id, code=error.code)


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "?"
