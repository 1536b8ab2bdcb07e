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
    """Listens on a free port; `target` is asked for each connection."""

    def __init__(self, target: Callable[[], int], delay: float = 0.4) -> None:
        self.mode, self.port = Mode.through, 0
        self._target, self._delay = target, delay
        self._loop, self._ready = asyncio.new_event_loop(), threading.Event()
        threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True).start()
        self._ready.wait()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._pass, HOST, 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await asyncio.Event().wait()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = [writer]
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
