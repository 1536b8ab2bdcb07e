"""Decodes strangers' bytes where they can do no harm: in a process that has nothing and ends with the photo.

A small server process forks a child for each photo, which costs milliseconds; the child has the decoders loaded, a
limit of memory and of CPU time, no environment, no file and no way to open one, and hears and says one thing: bytes
in, pixels and the profile of their colours out. What Pillow's decoders, and LittleCMS, which reads the profile, can be
made to do by a hostile file ends there, and the keys are elsewhere.
"""

from __future__ import annotations

import atexit
import io
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import cache
from typing import cast

import numpy as np
from PIL import Image

from core.cores import cores
from core.errors import PhotoRefused, Unavailable
from core.stages.validate import MAX_PROFILE, Limits, Photo, decode

# Photos of 40 MP take 1.5 s at most, and 817 MiB in the worst of modes (WebP).
CPU_SECONDS, CPU_SECONDS_PER_PIXEL = 2, 1e-7
MEMORY, MEMORY_PER_PIXEL = 512 * 2**20, 24  # bytes
WALL_SECONDS = 30.0  # on a machine that has no time for us; as long for a place to decode at
MERCY = 5.0  # seconds after which who still has not ended is killed
LINE = 4096  # longest header of a question or an answer
MESSAGE = 300  # longest reason for a refusal, characters


def read_upload(data: bytes, limits: Limits) -> Photo:
    """As `read_photo`, at a distance.

    Raises:
        PhotoRefused: as there; `photo_too_complex` when it took more memory or time than any honest photo does.
        Unavailable: the process that decodes cannot be had.
    """
    photo = _server().ask(data, limits, pixels=True)
    assert photo  # noqa: S101
    return photo


def check_upload(data: bytes, limits: Limits) -> None:
    """As `read_upload`, for who needs no pixels."""
    _server().ask(data, limits, pixels=False)


class Server:
    """The process that forks. It starts when it is needed, and anew if it was lost."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Each child may take its whole limit of memory.
        self._places = threading.BoundedSemaphore(cores())
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def ask(self, data: bytes, limits: Limits, pixels: bool) -> Photo | None:
        """Let a child decode; its photo, if pixels are wanted."""
        question = {"size": len(data), "limits": asdict(limits), "pixels": pixels}
        with self._place(), self._child() as line, line.makefile("rb") as answer:
            try:
                line.sendall(json.dumps(question).encode() + b"\n")
                if data:  # who has nothing to wait for may have answered and gone, and even nothing cannot be sent then
                    line.sendall(data)
                return _answer(answer, limits, pixels)
            except TimeoutError:
                raise Unavailable("the photo could not be decoded in time; try again", code="decoder_busy") from None
            except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
                message = "the photo takes too much time or memory to decode; save it again as a plain JPEG or PNG"
                raise PhotoRefused(message, code="photo_too_complex") from None

    def stop(self) -> None:
        """End the process; children that are at work finish."""
        with self._lock:
            self._end()

    @contextmanager
    def _place(self) -> Iterator[None]:
        if not self._places.acquire(timeout=WALL_SECONDS):
            raise Unavailable("too many photos wait to be decoded; try again later", code="decoder_busy")
        try:
            yield
        finally:
            self._places.release()

    def _child(self) -> socket.socket:
        """A line to a new child."""
        ours, theirs = socket.socketpair()
        ours.settimeout(WALL_SECONDS)
        with theirs, self._lock:
            for _ in range(2):
                if self._control is None:
                    self._start()
                with suppress(OSError):
                    socket.send_fds(cast(socket.socket, self._control), [b"\0"], [theirs.fileno()])
                    return ours
                self._end()
        ours.close()
        raise Unavailable("the process that decodes photos does not start", code="decoder_unavailable")

    def _start(self) -> None:
        self._control, theirs = socket.socketpair()
        with theirs:
            # Nothing of our environment but the way to the code: there are secrets in it.
            env = {"PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"}
            argv = [sys.executable, "-P", "-m", "core.stages.sandbox"]
            self._process = subprocess.Popen(argv, stdin=theirs.fileno(), env=env, start_new_session=True)  # noqa: S603

    def _end(self) -> None:
        if self._control and self._process:
            self._control.close()
            self._process.kill()
            self._process.wait()
            self._control = self._process = None


@cache
def _server() -> Server:
    """This process's server."""
    server = Server()
    atexit.register(server.stop)
    return server


def _answer(stream: io.BufferedReader, limits: Limits, pixels: bool) -> Photo | None:
    """What a child says. It may be in a stranger's hands, so nothing of it is believed."""
    said = json.loads(stream.readline(LINE))
    if "code" in said:
        if said["code"] not in PhotoRefused.CODES:
            raise ValueError("no reason of ours")
        raise PhotoRefused(str(said["message"])[:MESSAGE], code=said["code"])
    if not pixels:
        return None
    height, width, size = int(said["height"]), int(said["width"]), int(said["profile"])
    if min(height, width) < 1 or height * width > limits.max_pixels or not 0 <= size <= MAX_PROFILE:
        raise ValueError("impossible size")
    profile, picture = stream.read(size), np.empty((height, width, 3), np.uint8)
    if len(profile) < size or stream.readinto(picture.data.cast("B")) != picture.nbytes:
        raise ValueError("cut off")
    return Photo(picture, profile or None)


def serve(control: socket.socket) -> None:
    """The server's life: a child for each line that comes, until the process that asks has gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # who starts us may ignore it, and then nobody could be waited for
    _load_decoders()
    deadlines: dict[int, float] = {}
    while True:
        if select.select([control], [], [], 1.0 if deadlines else None)[0]:
            note, lines, *_ = socket.recv_fds(control, 1, 1)
            if not note:
                return
            child = os.fork()
            if child == 0:
                try:
                    control.close()
                    _decode(lines[0])
                finally:
                    os._exit(0)  # whatever it was: the line ends without an answer, and no traceback is written
            os.close(lines[0])
            deadlines[child] = time.monotonic() + WALL_SECONDS + MERCY
        _reap(deadlines)


def _reap(deadlines: dict[int, float]) -> None:
    """Take leave of children that have ended, and end those that sleep, which no limit of CPU time does."""
    for child, deadline in list(deadlines.items()):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
        if os.waitpid(child, os.WNOHANG)[0]:
            del deadlines[child]


def _decode(line: int) -> None:
    """A child's life."""
    signal.setitimer(signal.ITIMER_REAL, WALL_SECONDS + MERCY)  # if nobody is left who would end it
    with socket.socket(fileno=line) as peer, peer.makefile("rwb") as stream:
        question = json.loads(stream.readline(LINE))
        limits = Limits(**question["limits"])
        _confine(limits)
        try:
            image, profile = decode(stream.read(question["size"]), limits)
        except PhotoRefused as refused:
            stream.write(json.dumps({"code": refused.code, "message": str(refused)}).encode())
            return
        profile = profile or b""
        said = {"height": image.height, "width": image.width, "profile": len(profile)}
        stream.write(json.dumps(said).encode() + b"\n")
        if question["pixels"]:
            stream.write(profile)
            stream.write(np.asarray(image).data)


def _confine(limits: Limits) -> None:
    memory = MEMORY + MEMORY_PER_PIXEL * limits.max_pixels + 2 * limits.max_bytes
    cpu = int(CPU_SECONDS + CPU_SECONDS_PER_PIXEL * limits.max_pixels)
    for kind, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_CORE, 0),  # the photo would be in it
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 0),  # no file, no socket any more
    ):
        resource.setrlimit(kind, (most, most))


def _load_decoders() -> None:
    """Pillow imports as it decodes, which a child that can open no file could not."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("JPEG", "PNG", "WEBP"):
        buffer = io.BytesIO()
        Image.new("RGB", (64, 64)).save(buffer, name, exif=exif)
        decode(buffer.getvalue())
    with suppress(PhotoRefused):
        decode(b"\xff\xd8\xff")


if __name__ == "__main__":
    serve(socket.socket(fileno=0))
