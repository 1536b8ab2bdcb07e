"""What the job table tells of the last hours, in figures."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Engine, Row, Select, cast, extract, func, select

from core.jobs.database import now
from core.jobs.states import State
from core.jobs.tables import Job

SPAN, COUNT = timedelta(minutes=10), 36  # a bucket, and how many there are: six hours


@dataclass(frozen=True, slots=True)
class Bucket:
    """Jobs that ended in one span of time; waited and worked: mean seconds of those that had a worker."""

    begin: datetime
    succeeded: int = 0
    others: int = 0
    waited: float = 0.0
    worked: float = 0.0


@dataclass(frozen=True, slots=True)
class Statistics:
    """`ends` counts the last hours' jobs by state and, of a failure, problem code; most frequent first."""

    queued: int
    running: int
    oldest: datetime | None
    ends: list[tuple[str, str, int]]
    buckets: list[Bucket]


class Active(NamedTuple):
    """Jobs of one state, kind and method (empty for a restore) that are on their way, and when the oldest came."""

    state: str
    kind: str
    method: str
    number: int
    oldest: datetime


class Observer:
    """Reads the job table as a whole. Nothing here names a tenant, a photo or a caller."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def look(self) -> Statistics:
        """The present and the last COUNT spans; the last one is still going on."""
        width = int(SPAN.total_seconds())
        last = int(now().timestamp()) // width
        since = datetime.fromtimestamp((last - COUNT + 1) * width, UTC)
        number = (_seconds(Job.finished_at) // width).label("number")
        by_bucket = select(
            number, Job.state, func.count(),
            func.avg(_seconds(Job.started_at) - _seconds(Job.created_at)),
            func.avg(_seconds(Job.finished_at) - _seconds(Job.started_at)),
        )  # fmt: skip
        ended = self._rows(by_bucket.where(Job.finished_at >= since).group_by(number, Job.state))
        code = Job.problem["code"].as_string().label("code")
        ends = self._rows(
            select(Job.state, code, func.count()).where(Job.finished_at >= since).group_by(Job.state, code)
        )
        present = self.present()
        return Statistics(
            queued=sum(jobs.number for jobs in present if jobs.state == State.queued),
            running=sum(jobs.number for jobs in present if jobs.state == State.running),
            oldest=min((jobs.oldest for jobs in present), default=None),
            ends=sorted(((state, code or "", count) for state, code, count in ends), key=lambda end: -end[2]),
            buckets=[_bucket(n, [row for row in ended if row[0] == n]) for n in range(last - COUNT + 1, last + 1)],
        )

    def present(self) -> list[Active]:
        """Only what is on its way: an index finds it, however many jobs have ended."""
        method = func.coalesce(Job.request["method"].as_string(), "").label("method")
        active = Job.state.in_([State.queued, State.running])
        query = select(Job.state, Job.kind, method, func.count(), func.min(Job.created_at)).where(active)
        return [Active(*row) for row in self._rows(query.group_by(Job.state, Job.kind, method))]

    def _rows(self, query: Select[*tuple[Any, ...]]) -> list[Row[*tuple[Any, ...]]]:
        with self.engine.connect() as connection:
            return list(connection.execute(query))


def _seconds(column: Any) -> ColumnElement[int]:
    """Since the Unix epoch, whole."""
    return cast(extract("epoch", column), BigInteger)


def _bucket(number: int, rows: list[Row[*tuple[Any, ...]]]) -> Bucket:
    counts = {state: count for _, state, count, _, _ in rows}
    timed = [(count, float(waited), float(worked)) for _, _, count, waited, worked in rows if waited is not None]
    total = sum(count for count, _, _ in timed) or 1
    return Bucket(
        begin=datetime.fromtimestamp(number * SPAN.total_seconds(), UTC),
        succeeded=counts.get(State.succeeded, 0),
        others=sum(counts.values()) - counts.get(State.succeeded, 0),
        waited=sum(count * waited for count, waited, _ in timed) / total,
        worked=sum(count * worked for count, _, worked in timed) / total,
    )
