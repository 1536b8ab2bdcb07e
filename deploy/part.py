"""A server process: start it, wait until it answers, stop it."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from kombu.exceptions import OperationalError
from redis import RedisError

from core.errors import ConfigurationError, SiderError

GRACE_SECONDS = 20.0
START_SECONDS = 120.0
ROOT = Path(__file__).resolve().parents[1]

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


@dataclass
class Part:
    """A server. `ready` is polled after start; it may raise or be False until the server answers. `before` is called
    ahead of each start, with the server's log."""

    name: str
    argv: list[str]
    ready: Callable[[], bool]
    env: dict[str, str] = field(default_factory=dict)
    before: Callable[[IO[bytes]], None] = lambda _: None
    log: Path = field(default=Path(os.devnull), init=False)
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self, logs: Path, inherit: int) -> None:
        """Start with output to `logs`; the file descriptor `inherit` stays open as long as the server lives."""
        self.log = logs / f"{self.name}.log"
        with self.log.open("ab") as file:
            self.before(file)
            # A session of its own: Ctrl-C in the terminal reaches only us, and we stop the parts in order.
            self.process = subprocess.Popen(  # noqa: S603
                self.argv, env=self.env, stdout=file, stderr=file, stdin=subprocess.DEVNULL, cwd=ROOT,
                start_new_session=True, pass_fds=(inherit,), preexec_fn=_die_with_us,  # noqa: PLW1509
            )  # fmt: skip

    def wait(self) -> None:
        """Until it answers.

        Raises:
            ConfigurationError: it ended, or did not answer in time.
        """
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self.ended():
                raise self.obituary()
            if time.monotonic() > deadline:
                raise ConfigurationError(f"{self.name} does not answer; the end of {self.log}:\n{tail(self.log)}")
            time.sleep(0.1)

    def ended(self) -> bool:
        """Has it ended by itself?"""
        return self.process is not None and self.process.poll() is not None

    def obituary(self) -> ConfigurationError:
        """What to tell of a part that has ended by itself."""
        code = self.process.returncode if self.process else None
        how = f"killed by signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return ConfigurationError(f"{self.name} has ended by itself ({how}); the end of {self.log}:\n{tail(self.log)}")

    def stop(self) -> None:
        """TERM and wait; KILL whatever is left of its process group."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(GRACE_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _answers(self) -> bool:
        try:
            return self.ready()
        except (OSError, RedisError, OperationalError, SiderError):
            return False


def plain_env() -> dict[str, str]:
    """What a server needs of our environment: no secrets of ours."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}


def tail(log: Path, lines: int = 20) -> str:
    """The end of a log file."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def _die_with_us() -> None:
    # Runs in the child. Even a kill -9 of this process leaves no server behind: Linux then sends them TERM.
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
