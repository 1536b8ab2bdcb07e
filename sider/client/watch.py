"""Waiting for a job."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import httpx2

from core.jobs.states import ENDS
from sider.client.effects import Ask, Close, Flow, Read, Sleep, Stream
from sider.client.models import Job, Progress
from sider.client.problems import error_in
from sider.client.requests import BUSY, Requests, pause

POLL_SECONDS = 2.0


@dataclass(slots=True)
class Watch:
    """A job's progress from one call of `next` to another: by events, which are resumed when the connection is lost,
    and by asking every other second where no events can be had."""

    requests: Requests
    job_id: str
    timeout: float | None = None
    job: Job | None = None  # as last asked for: of a restore the answer with the link must not be lost
    _stream: Stream | None = None
    _seen: str = ""
    _lost: int = 0  # connections since the last event
    _polling: bool = False
    _ended: bool = False
    _began: float = field(default_factory=time.monotonic)

    def next(self) -> Flow[Progress | None]:
        """The job when it has changed; None when its end was told.

        Raises:
            SiderError: the service says something else, or nothing any more.
            TimeoutError: the job has not ended in time.
        """
        while not self._ended:
            if self.timeout is not None and time.monotonic() - self._began > self.timeout:
                raise TimeoutError(f"{self.job_id} has not ended within {self.timeout:g} s")
            if progress := (yield from self._poll() if self._polling else self._event()):
                self._ended = progress.state in ENDS
                return progress
        return None

    def close(self) -> Flow[None]:
        """Let the connection go."""
        if self._stream:
            yield Close(self._stream)
        self._stream = None

    def _event(self) -> Flow[Progress | None]:
        """What the next event tells; None if it is only a sign of life, or the connection is lost."""
        try:
            stream = self._stream = self._stream or (yield from self._open())
            if stream is None:
                return None
            fields: dict[str, str] = {}
            while line := (yield Read(stream)):
                name, _, value = line.partition(": ")
                fields[name] = value
            if line is None:
                raise httpx2.RemoteProtocolError("the events have ended before the job")
        except httpx2.TransportError:
            yield from self.close()
            self._lost += 1
            self._polling = self._lost > self.requests.retries
            yield Sleep(pause(self._lost))
            return None
        if "data" not in fields:
            return None
        self._lost, self._seen = 0, fields.get("id", "")
        return Progress.model_validate_json(fields["data"])

    def _open(self) -> Flow[Stream | None]:
        """The events; None if there are none to be had."""
        headers = self.requests.credentials() | ({"Last-Event-ID": self._seen} if self._seen else {})
        opened = yield Ask("GET", f"{self.requests.server}/jobs/{self.job_id}/events", headers, stream="lines")
        if isinstance(opened, Stream):
            return opened
        error = error_in(opened)
        if error and opened.status_code not in BUSY:
            raise error
        self._polling = True
        return None

    def _poll(self) -> Flow[Progress | None]:
        if self.job:
            yield Sleep(POLL_SECONDS)
        answer = yield from self.requests.ask("GET", f"/jobs/{self.job_id}")
        before, self.job = self.job, Job.model_validate_json(answer.content)
        return None if self.job == before else self.job
