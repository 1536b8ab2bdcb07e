"""What the requests of a process share: places to wait for jobs, and one answer to how the parts are."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager

MAX_WATCHERS = 200  # requests that wait for jobs; each looks at the job table once a second


class Watchers(asyncio.Semaphore):
    """Places for requests that wait for jobs. A tenant may take a share of them, as of the queue."""

    def __init__(self, places: int = MAX_WATCHERS) -> None:
        super().__init__(places)
        self._places, self._taken = places, Counter[str]()

    def full(self, tenant: str, share: float) -> bool:
        """Whether there is no place for one more of this tenant."""
        return self.locked() or self._taken[tenant] >= max(1, int(self._places * share))

    @asynccontextmanager
    async def place(self, tenant: str) -> AsyncGenerator[None]:
        """A place; waits for one if others were faster."""
        self._taken[tenant] += 1
        try:
            async with self:
                yield
        finally:
            self._taken[tenant] -= 1
            self._taken += Counter()  # forgets who has none


class States:
    """How the parts are. They are asked once at a time, and whoever wants to know meanwhile waits for that answer:
    while a part is silent, probers take no more than one thread."""

    def __init__(self) -> None:
        self._asking: asyncio.Task[dict[str, str]] | None = None
        self._answered = 0.0

    async def get(self, ask: Callable[[], Coroutine[None, None, dict[str, str]]], seconds: float) -> dict[str, str]:
        """An answer that is no older than that."""

        async def asked() -> dict[str, str]:
            states = await ask()
            self._answered = time.monotonic()
            return states

        if not self._asking or (self._asking.done() and time.monotonic() >= self._answered + seconds):
            self._asking = asyncio.create_task(asked())
        return await asyncio.shield(self._asking)  # who waits may go away
