"""A service that answers as a script says, and what a real one would answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx2

ACCEPTED = {"job_id": "job_1", "photo_id": "pho_1", "state": "queued", "restore_code": None}
PICTURE = b"\x89PNG a protected picture" * 1000
Answer = httpx2.Response | Exception | Callable[[httpx2.Request], httpx2.Response]


class Service:
    """Answers requests in turn; keeps what was asked and how long the client has slept."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[httpx2.Request] = []
        self.slept: list[float] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if isinstance(request.stream, httpx2.SyncByteStream):
            request.read()
        self.asked.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx2.Response) else answer(request)

    @property
    def paths(self) -> list[str]:
        return [request.url.path for request in self.asked]


class Pieces(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """A body that comes in pieces; an error among them cuts the connection."""

    def __init__(self, *pieces: bytes | BaseException) -> None:
        self.pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.pieces:
            if isinstance(piece, BaseException):
                raise piece
            yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece


LOST = httpx2.ReadError("connection reset")


def problem(status: int, code: str, retry_after: int | None = None, **more: Any) -> httpx2.Response:
    headers = {} if retry_after is None else {"retry-after": str(retry_after)}
    body = {"type": f"urn:sider:problem:{code}", "title": "", "status": status, "detail": "why", "code": code, **more}
    return httpx2.Response(status, headers=headers, json=body)


def job(**values: Any) -> dict[str, Any]:
    return {
        "job_id": "job_1", "photo_id": "pho_1", "kind": "protect", "state": "running", "step": "optimise",
        "progress": 0.5, "position": None, "attempt": 1, "created_at": "2026-11-21T10:00:00Z", "expires_at": None,
        "started_at": None, "finished_at": None, "result": None, "problem": None, **values,
    }  # fmt: skip


def event(name: str, **values: Any) -> bytes:
    data = json.dumps(job(**values))
    return f"event: {name}\ndata: {data}\nid: {name}{values.get('progress', '')}\n\n".encode()


def events(*pieces: bytes | BaseException) -> httpx2.Response:
    return httpx2.Response(200, headers={"content-type": "text/event-stream; charset=utf-8"}, stream=Pieces(*pieces))


def stored(*pieces: bytes | Exception, digest: str | None = None) -> httpx2.Response:
    headers = {"x-amz-meta-sha256": digest or hashlib.sha256(PICTURE).hexdigest()}
    return httpx2.Response(200, headers=headers, stream=Pieces(*pieces))


def photo_view(number: int) -> httpx2.Response:
    view = {
        "photo_id": "pho_1", "job_id": "job_1", "state": "succeeded", "method": "sider", "preset": "standard",
        "custody": "split", "created_at": "2026-11-21T10:00:00Z", "protected_at": "2026-11-21T10:00:09Z",
        "variants": [{"name": "v1", "link": f"http://store.test/v1.png?link={number}"}], "report": {}, "problem": None,
    }  # fmt: skip
    return httpx2.Response(200, json=view)
