"""The composition root of a worker: `celery --app worker.app worker`.

Celery carries job ids, nothing else: the job table is the truth, so results, retries and time limits of
Celery itself are not relied on. Measured reasons for each setting stand in DESIGN.md.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import structlog
from celery import Celery, Task
from celery.signals import setup_logging, worker_init, worker_process_init, worker_ready, worker_shutting_down
from celery.worker import state

from core import metrics, tracing
from core.jobs import database
from core.jobs.message import HEADER, QUEUE, TASK, VERSION, asking, message
from core.jobs.workers import Workers
from core.settings import Settings
from worker import engine, logs, tasks
from worker.context import Context, connect_context
from worker.courier import Courier
from worker.orphans import Orphans
from worker.reaper import Reaper
from worker.retention import Retention
from worker.sweeper import Sweeper

if TYPE_CHECKING:
    from worker.presence import Presence

# Before torch is loaded: its threads wait 2,000 rounds for work, then sleep. By default they spin so long that they
# are in the way of whoever has work; with 1,000 they sleep where work is about to come (measured, DESIGN.md).
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

HARD_LIMIT_SECONDS = 900
SWEEP_SECONDS = 3.0
HAND_BACK = signal.SIGUSR2  # from the parent to the process of a job; TERM and USR1 are Celery's own
UNFIT = signal.SIGUSR2  # from the process of a job to its parent

logger = structlog.get_logger(__name__)
settings = Settings()
tracing.configure("sider-worker")
app = Celery("sider", broker=settings.broker_url.get_secret_value(), set_as_current=True)
app.conf.update(
    task_default_queue=QUEUE,
    task_ignore_result=True,
    task_serializer="json",
    accept_content=["json"],
    # One job a process; the process is started afresh (CUDA does not survive a fork).
    worker_pool="prefork",
    worker_concurrency=1,
    worker_pool_start_method="spawn",
    # The successor of a crashed process loads the networks first. With the default of 4 s it is taken for dead and
    # killed, and so is its own successor, for ever (measured).
    worker_proc_alive_timeout=300.0,
    worker_prefetch_multiplier=1,
    worker_disable_prefetch=True,
    # The message goes when the job has ended; a lost worker gives it back at most twice.
    task_acks_late=True,
    task_retry_on_worker_lost=True,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    task_time_limit=HARD_LIMIT_SECONDS,
    broker_connection_retry_on_startup=True,
    broker_transport_options={
        # Longer than any job can run, or it would be delivered twice.
        "visibility_timeout": HARD_LIMIT_SECONDS + 300,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "socket_timeout": 30,
        "socket_keepalive": True,
    },
    worker_hijack_root_logger=False,
    worker_send_task_events=False,
)


@app.task(name=TASK, max_retries=2, bind=True)  # type: ignore[untyped-decorator]
def run(self: Task, job_id: str, *_: Any, **__: Any) -> None:
    """Do one job; its outcome is written to the job table. A later release may send more arguments."""
    with _presence().busy(job_id):
        try:
            tasks.run(job_id, _context(), (self.request.headers or {}).get(HEADER, VERSION))
        except engine.Unfit:
            sys.exit(1)  # the parent starts another


def publish(job_id: str) -> None:
    """Put a job's id into the queue."""
    with asking("publish"):
        app.send_task(**message(job_id))


def queue_is_empty() -> bool:
    """Whether no message waits."""
    with asking("count"), app.connection_for_read() as connection:
        return not connection.default_channel.queue_declare(QUEUE).message_count


@setup_logging.connect  # type: ignore[untyped-decorator]
def _logs(**_: Any) -> None:
    logs.configure(settings.log_level)


@worker_init.connect  # type: ignore[untyped-decorator]
def _listen(**_: Any) -> None:
    signal.signal(UNFIT, _end)


def _end(*_: Any) -> None:
    """Have this parent take no more messages and exit, not with 0: so its supervisor sees that it cannot work."""
    state.should_stop = os.EX_CONFIG


@worker_process_init.connect  # type: ignore[untyped-decorator]
def _warm(**_: Any) -> None:
    logs.configure(settings.log_level)
    signal.signal(HAND_BACK, lambda *_: tasks.leaving.set())
    metrics.serve(settings.metrics_host, settings.metrics_port)
    try:
        engine.networks(settings)  # the first job should not wait for weights
    except Exception as error:
        # Celery would log it and send jobs, each of which would fail.
        engine.tell_operator("networks_not_loaded", error)
        os.kill(os.getppid(), UNFIT)
        sys.exit(os.EX_CONFIG)
    Sweeper("presence", _presence().beat, SWEEP_SECONDS).start()


@worker_ready.connect  # type: ignore[untyped-decorator]
def _sweep(**_: Any) -> None:
    try:
        context = connect_context(settings, engine.Loaded(settings))
    except Exception as error:
        # Celery would log it and go on without any duty being done.
        engine.tell_operator("parts_not_connected", error)
        _end()
        return
    for sweeper in sweepers(context):
        sweeper.start()
    metrics.serve(settings.metrics_host, settings.metrics_port)


def sweepers(context: Context, seconds: float = SWEEP_SECONDS) -> list[Sweeper]:
    """A thread each: while the store is away, or a receiver is slow, the other duties are done all the same."""
    return [
        Sweeper("reaper", Reaper(context, publish, queue_is_empty).sweep, seconds),
        Sweeper("courier", Courier(context).sweep, seconds),
        Sweeper("retention", Retention(context).sweep, seconds),
        Sweeper("heads", context.heads.anchor, seconds),
        # Hardly ever finds something, and lists the store.
        Sweeper("orphans", Orphans(context).sweep, max(seconds, context.settings.orphan_seconds / 10)),
    ]


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _leave(**_: Any) -> None:
    """Celery waits for the running job as long as it takes; after the grace it is handed back."""

    def hand_back() -> None:
        for request in list(state.active_requests):
            os.kill(request.worker_pid, HAND_BACK)

    timer = threading.Timer(settings.grace_seconds, hand_back)
    timer.daemon = True  # nobody waits for it if the job ends in time
    timer.start()


@cache
def _presence() -> Presence:
    """This process's."""
    from worker.presence import Presence  # noqa: PLC0415 - see worker.engine

    return Presence(Workers(database.connect(settings.database_url)), partial(engine.networks, settings))


_found: list[Context] = []


def _context() -> Context:
    """This process's context, made by its first job."""
    if not _found:
        _found.append(connect_context(settings, engine.Loaded(settings)))
    return _found[0]
