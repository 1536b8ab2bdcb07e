"""Client and AsyncClient: they do what the flows ask for, one blocking and one not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Self, TypeVar
from urllib.parse import urlsplit

import httpx2

from core.errors import RequestRefused
from sider.client.effects import Ask, Close, Effect, Flow, Read, Sleep, Stream
from sider.client.flows import Flows
from sider.client.models import Progress
from sider.client.watch import Watch

P = ParamSpec("P")
T = TypeVar("T")
# Longer than the service's signs of life are apart (15 s), and than its longest wait (30 s).
OK = 200
TIMEOUT = httpx2.Timeout(60.0, connect=10.0)


def _now(flow: Callable[Concatenate[Flows, P], Flow[T]]) -> Callable[Concatenate[Client, P], T]:
    """A flow as a method that blocks."""

    @wraps(flow)
    def call(self: Client, /, *args: P.args, **options: P.kwargs) -> T:
        return self._run(flow(self._flows, *args, **options))

    return call


def _later(flow: Callable[Concatenate[Flows, P], Flow[T]]) -> Callable[Concatenate[AsyncClient, P], Awaitable[T]]:
    """A flow as a method to be awaited."""

    @wraps(flow)
    async def call(self: AsyncClient, /, *args: P.args, **options: P.kwargs) -> T:
        return await self._run(flow(self._flows, *args, **options))

    return call


class Client:
    """The service at a URL, for blocking code; may be shared by threads. A context manager.

    key: an API key. token: makes the JWT that restores need where the service asks for one. retries: how often a
    request is sent again. options: of httpx2.Client, e.g. `verify` and `cert` for TLS of one's own.

    Raises:
        RequestRefused: no http(s) URL.
    """

    def __init__(
        self, server: str, key: str, *, token: Callable[[], str] | None = None, retries: int = 5, **options: Any
    ) -> None:
        self._flows = Flows(_checked(server), key, token, retries)
        self._http = httpx2.Client(**{"timeout": TIMEOUT, **options})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    protect = _now(Flows.protect)
    protect_batch = _now(Flows.protect_batch)
    restore = _now(Flows.restore)
    job = _now(Flows.job)
    jobs = _now(Flows.jobs)
    wait = _now(Flows.wait)
    cancel = _now(Flows.cancel)
    batch = _now(Flows.batch)
    cancel_batch = _now(Flows.cancel_batch)
    photo = _now(Flows.photo)
    download = _now(Flows.download)
    download_restored = _now(Flows.download_restored)
    verify = _now(Flows.verify)
    erase = _now(Flows.erase)

    def watch(self, job_id: str) -> Generator[Progress]:
        """The job whenever it has changed, until it has ended; connections that are lost are resumed."""
        watch = Watch(self._flows, job_id)
        try:
            while progress := self._run(watch.next()):
                yield progress
        finally:
            self._run(watch.close())

    def _run(self, flow: Flow[T]) -> T:
        try:
            effect = next(flow)
            while True:
                try:
                    came = self._do(effect)
                except BaseException as error:
                    effect = flow.throw(error)
                else:
                    effect = flow.send(came)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]

    def _do(self, effect: Effect) -> Any:
        match effect:
            case Ask():
                answer = self._http.send(_request(self._http, effect), stream=bool(effect.stream))
                if effect.stream and answer.status_code == OK:
                    return Stream(answer, answer.iter_lines() if effect.stream == "lines" else answer.iter_bytes())
                answer.read()
                return answer
            case Read(stream):
                return next(stream.pieces, None)
            case Close(stream):
                stream.answer.close()
            case Sleep(seconds):
                time.sleep(seconds)
        return None


class AsyncClient:
    """As Client, for asyncio."""

    def __init__(
        self, server: str, key: str, *, token: Callable[[], str] | None = None, retries: int = 5, **options: Any
    ) -> None:
        self._flows = Flows(_checked(server), key, token, retries)
        self._http = httpx2.AsyncClient(**{"timeout": TIMEOUT, **options})

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    protect = _later(Flows.protect)
    protect_batch = _later(Flows.protect_batch)
    restore = _later(Flows.restore)
    job = _later(Flows.job)
    jobs = _later(Flows.jobs)
    wait = _later(Flows.wait)
    cancel = _later(Flows.cancel)
    batch = _later(Flows.batch)
    cancel_batch = _later(Flows.cancel_batch)
    photo = _later(Flows.photo)
    download = _later(Flows.download)
    download_restored = _later(Flows.download_restored)
    verify = _later(Flows.verify)
    erase = _later(Flows.erase)

    async def watch(self, job_id: str) -> AsyncGenerator[Progress]:
        """As Client.watch."""
        watch = Watch(self._flows, job_id)
        try:
            while progress := await self._run(watch.next()):
                yield progress
        finally:
            await self._run(watch.close())

    async def _run(self, flow: Flow[T]) -> T:
        try:
            effect = next(flow)
            while True:
                try:
                    came = await self._do(effect)
                except BaseException as error:
                    effect = flow.throw(error)
                else:
                    effect = flow.send(came)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]

    async def _do(self, effect: Effect) -> Any:
        match effect:
            case Ask():
                answer = await self._http.send(_request(self._http, effect), stream=bool(effect.stream))
                if effect.stream and answer.status_code == OK:
                    return Stream(answer, answer.aiter_lines() if effect.stream == "lines" else answer.aiter_bytes())
                await answer.aread()
                return answer
            case Read(stream):
                return await anext(stream.pieces, None)
            case Close(stream):
                await stream.answer.aclose()
            case Sleep(seconds):
                await asyncio.sleep(seconds)
        return None


def _checked(server: str) -> str:
    parts = urlsplit(server)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise RequestRefused(f"{server!r} is no address of a service; write it like https://sider.example")
    return server.rstrip("/")


def _request(http: httpx2.Client | httpx2.AsyncClient, ask: Ask) -> httpx2.Request:
    return http.build_request(
        ask.method, ask.url, headers=ask.headers, data=ask.data, files=ask.files or None, params=ask.params
    )
