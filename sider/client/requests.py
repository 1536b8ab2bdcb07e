"""Requests that are sent again until they are answered, or until there is no sense in it."""

from __future__ import annotations

import hashlib
import random
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from uuid import uuid4

import httpx2

from core.errors import SiderError, Unavailable
from core.vault.durable import rename, settle
from sider.client.effects import Ask, Close, Flow, Read, Sleep, Stream
from sider.client.problems import error_in, retry_after

T = TypeVar("T")
Upload = Path | str | bytes | BinaryIO  # a path, a photo, or an open file: seekable, so that it can be sent again

BUSY = frozenset({429, 502, 503, 504})
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0  # seconds; doubled from one attempt to the next
DIGEST = "x-amz-meta-sha256"  # of the stored file; see core/vault/blobs.py


@dataclass(frozen=True, slots=True)
class Requests:
    """token: makes the JWT that a restore needs where the service asks for one. retries: of each request."""

    server: str
    key: str = field(repr=False)
    token: Callable[[], str] | None
    retries: int

    def post(
        self, path: str, form: Mapping[str, Any], uploads: Sequence[Upload], idempotency_key: str | None
    ) -> Flow[httpx2.Response]:
        """A request that is sent again under the same key as long as nobody knows whether it was accepted."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid4())}
        if path == "/restore" and self.token:
            headers["Authorization"] = f"Bearer {self.token()}"
        return (yield from self.ask("POST", path, headers=headers, form=form, uploads=uploads))

    def ask(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, Any] | None = None,
        uploads: Sequence[Upload] = (),
        params: Mapping[str, Any] | None = None,
    ) -> Flow[httpx2.Response]:
        """A good answer.

        Raises:
            SiderError: what the service says instead, or Unavailable, after as many attempts as make sense.
        """
        data = {name: str(value) for name, value in (form or {}).items() if value is not None}
        with ExitStack() as opened:
            # A constant name: that of the file may tell who is on the photo.
            files = [("photo", ("photo", _file(upload, opened), "application/octet-stream")) for upload in uploads]
            ask = Ask(method, self.server + path, self.credentials() | dict(headers or {}), data, files, params)
            for attempt in count(1):
                asked = 0.0
                try:
                    answer: httpx2.Response = yield ask
                    error, asked = error_in(answer), retry_after(answer)
                    again = answer.status_code in BUSY or (error and error.code == "idempotency_in_progress")
                except httpx2.TransportError as lost:
                    error, again = _unreachable(self.server, lost), True
                if error is None:
                    return answer
                if not again or attempt > self.retries or asked > LONGEST_PAUSE:
                    raise error
                yield Sleep(pause(attempt, asked))
        raise AssertionError  # count has no end

    def again(self, attempt: Callable[[], Flow[T]]) -> Flow[T]:
        """What a flow brings from the store, tried again (Unavailable)."""
        for number in count(1):
            try:
                return (yield from attempt())
            except httpx2.TransportError as lost:
                if number > self.retries:
                    raise _unreachable("the store", lost) from lost
                yield Sleep(pause(number))
        raise AssertionError

    def credentials(self) -> dict[str, str]:
        """The header field that every request has."""
        return {"X-API-Key": self.key}


def pause(attempt: int, asked: float = 0.0) -> float:
    """Seconds until the next attempt: longer each time, never less than asked for, and never all callers at once."""
    return asked + random.uniform(0, min(LONGEST_PAUSE, FIRST_PAUSE * 2**attempt))  # noqa: S311


def save(link: str, target: Path) -> Flow[Path]:
    """What a link leads to, in a file. The link is a credential of its own: ours are not sent to the store."""
    fresh = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    opened = yield Ask("GET", link, stream="bytes")
    if not isinstance(opened, Stream):
        raise httpx2.RemoteProtocolError(f"the store answers {opened.status_code}")
    try:
        digest = hashlib.sha256()
        with fresh.open("wb") as file:
            while piece := (yield Read(opened)):
                file.write(piece)
                digest.update(piece)
            settle(file)
        if opened.answer.headers.get(DIGEST, digest.hexdigest()) != digest.hexdigest():
            raise httpx2.RemoteProtocolError("what came is not what was stored")
        return rename(fresh, target)
    finally:
        fresh.unlink(missing_ok=True)
        yield Close(opened)


def _file(upload: Upload, opened: ExitStack) -> bytes | BinaryIO:
    return opened.enter_context(Path(upload).open("rb")) if isinstance(upload, Path | str) else upload


def _unreachable(what: str, lost: Exception) -> SiderError:
    return Unavailable(f"{what} cannot be reached: {type(lost).__name__}", code="service_unreachable")
