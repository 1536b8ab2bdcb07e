"""Decoding at a distance: the same pixels and refusals, from a process that has nothing and can do little."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from core.errors import PhotoRefused, Unavailable
from core.stages.sandbox import Server, _answer, _reap
from core.stages.validate import MAX_PROFILE, Limits
from tests import profiles
from tests.fakes import picture

PHOTO = picture()
CONFINED = "from core.stages.sandbox import _confine; from core.stages.validate import Limits; _confine(Limits());"


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


def test_pixels_and_refusals_come_through(server: Server) -> None:
    photo = server.ask(PHOTO.to_png(), Limits(), pixels=True)
    assert photo
    assert (photo.pixels == PHOTO.pixels).all()
    assert server.ask(PHOTO.to_png(), Limits(), pixels=False) is None
    with pytest.raises(PhotoRefused, match="cut off") as caught:
        server.ask(PHOTO.to_png()[:300], Limits(), pixels=False)
    assert caught.value.code == "photo_damaged"


def test_profiles_come_through(server: Server) -> None:
    photo = server.ask(replace(PHOTO, profile=profiles.SWAPPED).to_png(), Limits(), pixels=True)
    assert photo
    assert (photo.sha256, photo.profile) == (PHOTO.sha256, profiles.SWAPPED)
    buffer = io.BytesIO()
    Image.new("L", (96, 96), 128).save(buffer, "JPEG", icc_profile=profiles.LINEAR_GREY)
    grey = server.ask(buffer.getvalue(), Limits(), pixels=True)
    assert grey
    assert set(grey.pixels.flat) == {188}


def test_two_pictures_in_a_jpeg_are_one_photo(server: Server) -> None:
    buffer = io.BytesIO()
    image = Image.fromarray(PHOTO.pixels)
    image.save(buffer, "MPO", save_all=True, append_images=[image.rotate(90)])
    photo = server.ask(buffer.getvalue(), Limits(), pixels=True)
    assert photo
    assert photo.pixels.shape == PHOTO.pixels.shape


def test_an_empty_photo_is_called_so_though_the_child_is_gone_before_it_is_sent(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(socket.socket):
        def sendall(self, data: bytes, *flags: int) -> None:  # type: ignore[override]
            super().sendall(data, *flags)
            time.sleep(0.2)

    def slow_child() -> Slow:
        line = Slow(fileno=child().detach())
        line.settimeout(30)
        return line

    server.ask(PHOTO.to_png(), Limits(), pixels=False)  # a server that runs forks at once
    child = server._child
    monkeypatch.setattr(server, "_child", slow_child)
    with pytest.raises(PhotoRefused) as caught:
        server.ask(b"", Limits(), pixels=False)
    assert caught.value.code == "photo_empty"


def test_it_has_no_secret_and_its_successor_takes_over(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SIDER_S3_SECRET_KEY", "marked")
    server.ask(PHOTO.to_png(), Limits(), pixels=False)
    first = server.pid
    assert first
    if sys.platform == "linux":
        assert b"SIDER" not in Path(f"/proc/{first}/environ").read_bytes()
    os.kill(first, signal.SIGKILL)
    os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
    server.ask(PHOTO.to_png(), Limits(), pixels=False)
    assert server.pid not in (None, first)


def test_a_server_lives_on_though_who_starts_it_ignores_his_children(server: Server) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # which what is started inherits
    try:
        server._start()
    finally:
        signal.signal(signal.SIGCHLD, before)
    first = server.pid
    for _ in range(2):
        server.ask(PHOTO.to_png(), Limits(), pixels=False)
        time.sleep(1.2)  # it looks after its children once a second
    assert server.pid == first


def test_a_child_that_dies_is_a_refusal_and_a_slow_one_is_not(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends in the middle without a word, here by limits that make no sense to it."""
    with pytest.raises(PhotoRefused) as caught:
        server.ask(PHOTO.to_png(), Limits(min_side="none"), pixels=False)
    assert caught.value.code == "photo_too_complex"
    monkeypatch.setattr("core.stages.sandbox.WALL_SECONDS", 0.1)
    assert server.pid
    os.kill(server.pid, signal.SIGSTOP)
    with pytest.raises(Unavailable):
        server.ask(PHOTO.to_png(), Limits(), pixels=False)


def test_who_finds_no_place_is_told_so(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.stages.sandbox.WALL_SECONDS", 0.1)
    server._places = threading.BoundedSemaphore(1)
    with server._places, pytest.raises(Unavailable) as caught:
        server.ask(PHOTO.to_png(), Limits(), pixels=False)
    assert caught.value.code == "decoder_busy"
    monkeypatch.undo()
    server.ask(PHOTO.to_png(), Limits(), pixels=False)
    with pytest.raises(PhotoRefused):
        server.ask(b"", Limits(), pixels=False)
    server.ask(PHOTO.to_png(), Limits(), pixels=False)  # who was refused has left, too


def answered(said: dict[str, object]) -> object:
    return _answer(io.BufferedReader(io.BytesIO(json.dumps(said).encode() + b"\n")), Limits(), pixels=True)  # type: ignore[arg-type]


def test_a_child_is_not_believed_what_no_decoder_says() -> None:
    with pytest.raises(PhotoRefused, match=r"^x{300}$"):
        answered({"code": "photo_damaged", "message": "x" * 3000})
    with pytest.raises(ValueError, match="reason"):
        answered({"code": "photo_of_a_cat", "message": "it is one"})
    with pytest.raises(ValueError, match="size"):
        answered({"height": 100_000, "width": 100_000, "profile": 0})
    for size in (MAX_PROFILE + 1, -1):
        with pytest.raises(ValueError, match="size"):
            answered({"height": 1, "width": 1, "profile": size})
    with pytest.raises(ValueError, match="cut off"):
        answered({"height": 1, "width": 1, "profile": 9})


def test_who_sleeps_is_ended_and_who_has_ended_is_forgotten() -> None:
    asleep, ended = (subprocess.Popen(["sleep", time]) for time in ("60", "0"))
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    deadlines = {asleep.pid: time.monotonic() - 1, ended.pid: time.monotonic() + 60}
    _reap(deadlines)
    assert ended.pid not in deadlines
    if asleep.pid in deadlines:  # it takes a moment to die
        os.waitid(os.P_PID, asleep.pid, os.WEXITED | os.WNOWAIT)
        _reap(deadlines)
    assert not deadlines
    for child in (asleep, ended):
        child.wait()


def test_who_sleeps_ends_though_the_server_is_gone() -> None:
    code = """
import socket
from core.stages import sandbox
sandbox.WALL_SECONDS = sandbox.MERCY = 0.1
nobody, line = socket.socketpair()
sandbox._decode(line.detach())
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == -signal.SIGALRM


@pytest.mark.parametrize(
    ("deed", "error"),
    [("open('/dev/null')", "OSError"), ("bytes(2**31)", "MemoryError"), ("__import__('socket').socket()", "OSError")],
)
def test_a_confined_process_can_do_little(deed: str, error: str) -> None:
    code = f"import socket; {CONFINED} {deed}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert error in done.stderr


def test_a_confined_process_has_little_time() -> None:
    code = f"{CONFINED} import resource; print(resource.getrlimit(resource.RLIMIT_CPU)[1])"
    assert int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout) == 6
