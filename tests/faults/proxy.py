"""A TCP proxy that delays, refuses or cuts what passes through it, in a thread of its own."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto

HOST = "127.0.0.1"
CHUNK = 64 * 2**10


class Mode(Enum):
    """What becomes of a connection."""

    through = auto()
    slow = auto()  # each chunk waits
    refuse = auto()  # reset at once, open ones too
    cut = auto()  # reset in the middle of a body, by chance


class Proxy:
    """Listens on a free port until `stop`; `target` is asked for each connection."""

    def __init__(self, target: Callable[[], int], delay: float = 0.4) -> None:
        self.mode, self.port = Mode.through, 0
        self._target, self._delay = target, delay
        self._open: set[asyncio.Task[None] | None] = set()  # the loop itself holds its tasks weakly
        self._ready = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),), daemon=True)
        self._thread.start()
        self._ready.wait()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._pass, HOST, 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopped.wait()
        server.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task, ends = asyncio.current_task(), [writer]
        self._open.add(task)
        try:
            if self.mode is not Mode.refuse:
                there, back = await asyncio.open_connection(HOST, self._target())
                ends.append(back)
                await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
        except OSError:
            pass
        finally:
            for end in ends:
                end.transport.abort()
            self._open.discard(task)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(CHUNK):
            if self.mode is Mode.slow:
                await asyncio.sleep(self._delay)
            torn = self.mode is Mode.cut and random.random() < 0.3
            if self.mode is not Mode.refuse:
                sink.write(data[: len(data) // 2] if torn else data)
                await sink.drain()
            if torn or self.mode is Mode.refuse:
                raise ConnectionAbortedError
        with suppress(OSError):
            sink.write_eof()
