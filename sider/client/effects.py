"""What a flow may ask a shell to do.

A flow is a call of the service without any input or output on the network: it yields what is to be done and is sent
what came of it, or has the error thrown in; what it returns is the call's. So retries, resuming and renewed links are
written once, and Client and AsyncClient only do as told.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import httpx2

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ask:
    """Send a request. Its answer is a Response that was read; with `stream` and status 200 a Stream of such pieces."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    data: Mapping[str, str] | None = field(default=None, repr=False)
    files: Sequence[tuple[str, Any]] | None = field(default=None, repr=False)
    params: Mapping[str, Any] | None = None
    stream: Literal["bytes", "lines"] | None = None


@dataclass(slots=True)
class Stream:
    """An answer that is read piece by piece."""

    answer: httpx2.Response
    pieces: Any


@dataclass(frozen=True, slots=True)
class Read:
    """The next piece, None at the end."""

    stream: Stream


@dataclass(frozen=True, slots=True)
class Close:
    """No more of it is wanted."""

    stream: Stream


@dataclass(frozen=True, slots=True)
class Sleep:
    seconds: float


Effect = Ask | Read | Close | Sleep
Flow = Generator[Effect, Any, T]
