"""Fakes for unit tests: in memory, no server, no network."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

import numpy as np

from core.errors import NotFound, Unavailable
from core.stages.validate import Photo
from core.vault.blobs import KEY
from core.vault.restoration import Restoration

if TYPE_CHECKING:
    from core.pipeline import Outcome, Request


@dataclass
class MemoryBlobs:
    """Objects in a dictionary, under keys as S3Blobs takes them; `down` makes every call fail as a lost store would."""

    objects: dict[str, bytes] = field(default_factory=dict)
    times: dict[str, datetime] = field(default_factory=dict)
    down: bool = False

    def _alive(self, key: str = "any") -> None:
        if not KEY.fullmatch(key):
            raise ValueError(f"no valid object key: {key!r}")
        if self.down:
            raise Unavailable("the object store is away", code="store_unavailable")

    def put(self, key: str, data: bytes, content_type: str = "") -> None:
        self._alive(key)
        self.objects[key], self.times[key] = data, datetime.now(UTC)

    def get(self, key: str) -> bytes:
        self._alive(key)
        if key not in self.objects:
            raise NotFound("no such object")
        return self.objects[key]

    def put_once(self, key: str, data: bytes) -> bool:
        self._alive(key)
        return self.objects.setdefault(key, data) is data

    def get_tagged(self, key: str) -> tuple[bytes, str]:
        data = self.get(key)
        return data, hashlib.sha256(data).hexdigest()

    def replace(self, key: str, data: bytes, tag: str) -> bool:
        self._alive(key)
        unchanged = key in self.objects and self.get_tagged(key)[1] == tag
        if unchanged:
            self.put(key, data)
        return unchanged

    def names(self, prefix: str = "", before: datetime | None = None) -> Iterator[str]:
        self._alive()
        yield from (
            k for k in sorted(self.objects) if k.startswith(prefix) and not (before and self.times[k] >= before)
        )

    def history(self, prefix: str) -> Iterator[tuple[str, bytes]]:
        self._alive()
        yield from ((key, data) for key, data in sorted(self.objects.items()) if key.startswith(prefix))

    def delete(self, key: str) -> None:
        self._alive(key)
        self.objects.pop(key, None)

    def link(self, key: str, seconds: int, filename: str) -> str:
        """Tells all that it was asked for; see `behind`."""
        self._alive(key)
        return f"memory:{key}?{urlencode({'seconds': seconds, 'filename': filename})}"

    def behind(self, link: str) -> bytes:
        """What a link leads to."""
        return self.objects[urlsplit(link).path]

    def check(self) -> None:
        self._alive()


@dataclass
class MemoryBroker:
    """Messages in a list."""

    messages: list[str] = field(default_factory=list)
    down: bool = False

    def publish(self, job_id: str) -> None:
        self.check()
        self.messages.append(job_id)

    def check(self) -> None:
        if self.down:
            raise Unavailable("the queue is away", code="broker_unavailable")


@dataclass
class LightEngine:
    """Inverts a box in the middle: reversible, visible and instant. `before` runs first, e.g. to raise."""

    before: Callable[[], None] = lambda: None

    def protect(self, photo: Photo, request: Request, progress: Callable[[str, float], None]) -> Outcome:
        from core.pipeline import Outcome  # torch: not for those who only import this file

        self.before()
        progress("optimise", 0.5)
        h, w = photo.height, photo.width
        box = (w // 4, h // 4, w // 2, h // 2)
        variants = []
        for number in range(request.variants):
            pixels = photo.pixels.copy()
            window = pixels[box[1] : box[1] + box[3], box[0] : box[0] + box[2]]
            window[...] = 255 - number - window
            variants.append(replace(photo, pixels=pixels))
        restoration = Restoration.of(photo.pixels, [v.pixels for v in variants], [box])
        report = {"held": True, "method": request.method, "presentation": request.presentation, "age": request.age}
        return Outcome(tuple(variants), restoration, report)

    def restore(self, protected: Photo, packed: bytes) -> Photo:
        self.before()
        return replace(protected, pixels=Restoration.unpack(packed).apply(protected.pixels))


def picture(height: int = 96, width: int = 128, seed: int = 0) -> Photo:
    """A random but smooth colour picture."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return Photo(np.kron(coarse, np.ones((8, 8, 1), np.uint8)))
