"""A job from claim to end: claim -> objects -> engine -> objects -> finish."""

from __future__ import annotations

import contextvars
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import structlog
from opentelemetry.trace import SpanKind
from sqlalchemy.exc import SQLAlchemyError

from core import metrics, tracing
from core.errors import (
    ConfigurationError,
    NotFound,
    PromiseNotMet,
    RestoreDenied,
    SiderError,
    StateConflict,
    Unavailable,
    raised_at,
)
from core.jobs.database import now
from core.jobs.leftovers import clear
from core.jobs.message import VERSION
from core.jobs.retries import fault_of, pause
from core.jobs.states import ENDS
from core.jobs.tables import Job, made_by
from core.looks import Age, Presenting
from core.stages.sandbox import read_upload
from core.stages.validate import Limits
from core.vault.custody import Custody
from core.vault.provenance import marked_png
from core.vault.restoration import MAX_PIXELS
from worker.context import Context
from worker.engine import Unfit, tell_operator
from worker.stages import Stages

logger = structlog.get_logger(__name__)

NEWER_SECONDS = 10.0  # until a job that this release does not know is published again
leaving = threading.Event()  # set when the job of this process is to be handed back: the worker must stop

Result = tuple[dict[str, Any], dict[str, Any] | None]  # of the job, and new column values of its photo


def run(job_id: str, context: Context, version: int = VERSION) -> None:
    """Do one job. Duplicates and stale messages find nothing to claim and end here.

    What a newer release has sent or accepted goes back, for workers that know it.

    Raises:
        Unfit: the job goes back, and this process must end.
    """
    known, asked = VERSION if version <= VERSION else 0, time.time_ns()
    job = context.jobs.claim(job_id, context.settings.lease_seconds, known)
    if job is None:
        newer = context.jobs.postpone(job_id, NEWER_SECONDS, known)
        logger.info("left_to_newer_workers" if newer else "nothing_to_claim", job_id=job_id)
        return
    told: dict[str, str | int] = {"job_id": job.id, "kind": job.kind, "attempt": job.attempt}
    within = tracing.resumed(job.traceparent)
    with (
        structlog.contextvars.bound_contextvars(**told, tenant=job.tenant, request_id=job.request_id),
        tracing.current(tracing.begin("run", told, within=within, kind=SpanKind.CONSUMER, since=asked)),
    ):
        tracing.begin("claim", since=asked).end()
        logger.info("claimed")
        try:
            _attempt(job, context)
        except (StateConflict, SQLAlchemyError) as error:
            # Cancelled or too late, or another attempt has the job or gets it when the lease runs out.
            logger.warning("given_up", error=type(error).__name__)
            tracing.failed(error)
        tidy(job.id, context)


def _attempt(job: Job, context: Context) -> None:
    """One attempt: the job ends, or goes back into the queue."""
    try:
        with Heart(context, job) as heart:
            result, photo = {"protect": protect, "restore": restore}[job.kind](job, context, heart)
    except (StateConflict, SQLAlchemyError):
        raise
    except (ConfigurationError, Unfit) as error:
        if isinstance(error, ConfigurationError):
            tell_operator("not_configured", error)
        else:
            tell_operator("device_failed", error.__cause__ or error)
        tracing.failed(error)
        # As if the worker were lost, which it will be: the reaper counts it, in case the photo is at fault after all,
        # and need not wait for the lease.
        with suppress(StateConflict, SQLAlchemyError):
            context.jobs.heartbeat(job.id, job.attempt, 0, heart.step, heart.progress)
        raise Unfit from error
    except Exception as error:
        fault = fault_of(error)
        wait = pause(fault, job.setbacks + 1)
        if wait is None:
            with tracing.current(tracing.begin("finish")):
                context.jobs.fail(job.id, job.attempt, _problem(error))
        else:
            context.jobs.release(job.id, job.attempt, wait)
            logger.warning("handed_back", error=type(error).__name__, fault=fault, seconds=wait)
        tracing.failed(error)
    else:
        with tracing.current(tracing.begin("finish")):
            context.jobs.finish(job.id, job.attempt, result, photo)
        logger.info("succeeded")


def tidy(job_id: str, context: Context) -> bool:
    """Clear what a job leaves, if it has ended; whether it could be done: if not, it is for the reaper."""
    try:
        job = context.jobs.get(job_id)
        if job.state in ENDS:
            clear(job, context.shelf)
            context.jobs.mark_cleared(job)
    except (Unavailable, SQLAlchemyError) as error:
        logger.warning("clearing_postponed", job_id=job_id, error=type(error).__name__)
        return False
    return True


def protect(job: Job, context: Context, heart: Heart) -> Result:
    """Protect an upload; key and pictures are stored before the row says that there is a photo."""
    from core.pipeline import Request  # noqa: PLC0415 - see worker.engine

    shelf, wish = context.shelf, job.request
    heart.beat("fetch", 0.0)
    limits = Limits(context.settings.max_upload_bytes, context.settings.max_pixels)
    photo = read_upload(shelf.get_upload(job.tenant, job.id), limits)
    custody = Custody(wish.get("custody", Custody.SPLIT))
    lock = None if custody is Custody.SERVER else shelf.get_secret(job.tenant, job.id)
    presentation, age = Presenting(wish.get("presentation", "keep")), Age(wish.get("age", "keep"))
    request = Request(wish["method"], wish["preset"], wish["variants"], wish["seed"], wish["faces"], presentation, age)
    try:
        outcome = context.engine.protect(photo, request, heart.beat)
    except PromiseNotMet as missed:
        _count_faces(request.method, missed.details["report"])
        raise
    _count_faces(request.method, outcome.report)
    heart.beat("store", 0.0)
    heart.renew()
    made = made_by(job.photo_id, job.attempt)
    shelf.put_restoration(job.tenant, made, outcome.restoration.pack(), lock, custody)
    for number, variant in enumerate(outcome.protected, 1):
        shelf.put_protected(job.tenant, made, number, marked_png(variant.pixels, variant.profile))
    fingerprints = [shelf.fingerprint(variant.sha256) for variant in outcome.protected]
    context.photos.get(job.photo_id, job.tenant)  # erased in the meantime: NotFound, and nothing is kept
    result = {
        "photo_id": job.photo_id, "variants": len(outcome.protected), "report": outcome.report,
        "fingerprints": fingerprints,
    }  # fmt: skip
    return result, {"report": outcome.report, "protected_at": now(), "attempt": job.attempt}


def restore(job: Job, context: Context, heart: Heart) -> Result:
    """Restore an original, from the caller's file or from the stored first variant."""
    shelf = context.shelf
    heart.beat("open", 0.0)
    key = shelf.get_secret(job.tenant, job.id).key if job.request.get("locked", True) else None
    try:
        photo = context.photos.get(job.photo_id, job.tenant)
        packed = shelf.get_restoration(job.tenant, photo.made, key, Custody(photo.custody))
    except NotFound:
        raise RestoreDenied from None  # erased in between: the same answer as for a wrong password
    if job.request["uploaded"]:
        data, pixels = shelf.get_upload(job.tenant, job.id), context.settings.max_pixels
    else:
        # Ours, and let in once, whatever photos may have now.
        data, pixels = shelf.get_protected(job.tenant, photo.made, 1), MAX_PIXELS
    protected = read_upload(data, Limits(max_bytes=max(len(data), 1), max_pixels=pixels))
    original = context.engine.restore(protected, packed)
    heart.beat("store", 0.0)
    heart.renew()
    shelf.put_restored(job.tenant, job.id, original.to_png())
    context.photos.get(job.photo_id, job.tenant)  # as in protect
    return {"photo_id": job.photo_id, "sha256": original.sha256, "exact": True}, None


def _count_faces(method: str, report: dict[str, Any]) -> None:
    faces = [face for variant in report.get("variants", ()) for face in variant]
    metrics.FACES.labels(method).inc(len(faces))
    metrics.PROMISES_MISSED.labels(method).inc(sum(not face["held"] for face in faces))


# Where each step lies in the whole: (start, length); the optimiser is nearly all of it.
SPANS = {
    "fetch": (0.0, 0.0),
    "align": (0.0, 0.05),
    "protect": (0.05, 0.0),
    "optimise": (0.05, 0.85),
    "paste": (0.9, 0.0),
    "measure": (0.9, 0.05),
    "done": (0.95, 0.0),
    "store": (0.95, 0.0),
}


@dataclass
class Heart:
    """Renews a job's lease in a thread while the engine computes, and carries its progress."""

    context: Context
    job: Job
    step: str = "started"
    progress: float = 0.0
    lost: bool = False
    _stages: Stages = field(default_factory=Stages)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Heart:
        pump = contextvars.copy_context().run  # the job's name for the log
        self._thread = threading.Thread(target=pump, args=(self._pump,), name="heart", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stages.leave()
        self._stop.set()
        self._thread.join()

    def beat(self, step: str, fraction: float) -> None:
        """What the engine reports; raises StateConflict once the lease is lost or the job ended: no work in vain."""
        start, length = SPANS.get(step, (self.progress, 0.0))
        # A photo that missed its promise is tried again: its steps come twice.
        self.step, self.progress = step, max(self.progress, round(start + length * fraction, 3))
        self._stages.enter(step)
        if self.lost:
            raise StateConflict(f"attempt {self.job.attempt} of {self.job.id} has lost its lease")

    def renew(self) -> None:
        """Renew the lease now (StateConflict)."""
        lease = self.context.settings.lease_seconds
        self.context.jobs.heartbeat(self.job.id, self.job.attempt, lease, self.step, self.progress)

    def _pump(self) -> None:
        while not self._stop.wait(min(1.0, self.context.settings.lease_seconds / 4)):
            try:
                if leaving.is_set():
                    self.context.jobs.release(self.job.id, self.job.attempt)
                    logger.info("handed_back_to_leave")
                    self.lost = True
                    return
                self.renew()
            except StateConflict:
                self.lost = True
                return
            except SQLAlchemyError as error:
                # The database may be locked for a moment; the lease outlives several missed beats.
                logger.warning("heartbeat_missed", error=type(error).__name__)


def _problem(error: Exception) -> dict[str, Any]:
    """What the caller is told. The operator's log gets the kind of a surprise and its place, not its text:
    that could hold what a customer sent."""
    if isinstance(error, SiderError):
        logger.info("failed", code=error.code)
        return {"code": error.code, "message": str(error), "details": error.details}
    logger.error("failed_unexpectedly", error=type(error).__name__, at=raised_at(error))
    message = "The engine failed; the operator's log has the reason."
    return {"code": "internal_error", "message": message, "details": {}}
