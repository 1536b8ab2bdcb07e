"""Photos of requests are decoded in turn, and nobody waits for that who has sent none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TypeVar
from weakref import WeakValueDictionary

from anyio import CapacityLimiter, to_thread
from fastapi import UploadFile

from core.cores import cores
from core.errors import Unavailable
from core.stages.sandbox import WALL_SECONDS, check_upload
from core.stages.validate import Limits

T = TypeVar("T")


class Decoders:
    """Places at decoding, first come, first served, as many as there are cores.

    A tenant has a share of them, as of the queue: its requests wait for one another first, and then photo by photo with
    those of others. Who waits has no thread: those of all requests would soon be with whoever sends tiny files of giant
    photos.
    """

    def __init__(self, places: int | None = None) -> None:
        self._number = places or cores()
        self._places = asyncio.Semaphore(self._number)
        self._shares: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()  # of whom somebody waits

    async def run(self, tenant: str, share: float, calls: Iterable[Callable[[], T]]) -> list[T]:
        """What each call returns, one after another, in a thread and in its turn.

        Raises:
            Unavailable: decoder_busy.
        """
        mine = self._shares.setdefault(tenant, asyncio.Semaphore(max(1, int(self._number * share))))
        found = []
        async with _place(mine):
            for call in calls:
                async with _place(self._places):
                    found.append(await to_thread.run_sync(call, limiter=CapacityLimiter(1)))
        return found


@asynccontextmanager
async def _place(places: asyncio.Semaphore) -> AsyncGenerator[None]:
    try:
        async with asyncio.timeout(WALL_SECONDS):
            await places.acquire()
    except TimeoutError:
        raise Unavailable("too many photos wait to be decoded; try again later", code="decoder_busy") from None
    try:
        yield
    finally:
        places.release()


def content(photo: UploadFile, limits: Limits) -> bytes:
    """A file of a form, or a byte more of it than is accepted; read anew each time, so that who waits need not hold it
    in memory."""
    photo.file.seek(0)
    return photo.file.read(limits.max_bytes + 1)


def check(photo: UploadFile, limits: Limits) -> None:
    """Insist on a file of a form that is a photo (PhotoRefused, Unavailable)."""
    check_upload(content(photo, limits), limits)
