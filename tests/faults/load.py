"""Clients that protect, restore, cancel and erase as a real one does, and remember what they were promised."""

from __future__ import annotations

import io
import random
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx2
import numpy as np
from PIL import Image

from core.stages.validate import Photo
from core.vault.custody import Custody
from tests.fakes import picture

PATIENCE_SECONDS = 420.0  # longer than a reservation of an Idempotency-Key whose first request has died


@dataclass
class Kept:
    """A photo as its owner remembers it."""

    photo_id: str
    job_id: str
    sha256: str
    variants: int
    custody: str
    password: str | None
    erased: bool = False


@dataclass
class Ledger:
    """What was accepted. broken: promises that a client saw broken. answers: by status."""

    jobs: dict[str, str] = field(default_factory=dict)
    photos: dict[str, Kept] = field(default_factory=dict)
    restored: int = 0
    broken: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)


class GivenUp(Exception):
    """A request had no answer for longer than any fault lasts."""


class Client(threading.Thread):
    """One client after another story until `stop`; its last story is told to its end."""

    def __init__(self, number: int, url: str, key: str, ledger: Ledger, stop: threading.Event) -> None:
        super().__init__(name=f"client-{number}", daemon=True)
        self._random = random.Random(number)
        self._http = httpx2.Client(base_url=url, headers={"X-API-Key": key}, timeout=20)
        self._ledger, self._stop_asked = ledger, stop

    def run(self) -> None:
        with self._http:
            while not self._stop_asked.is_set():
                try:
                    self._story()
                except GivenUp as error:
                    self._ledger.broken.append(f"no answer: {error}")
                except Exception as error:
                    self._ledger.broken.append(f"client: {type(error).__name__}: {error}")

    def _story(self) -> None:
        kept = self._protect()
        if self._random.random() < 0.1:
            self._call("DELETE", f"/jobs/{kept.job_id}", also=(409,))
        if self._end_of(kept.job_id)["state"] != "succeeded":
            return
        if self._random.random() < 0.4:
            self._restore(kept)
        if self._random.random() < 0.15:
            kept.erased = True
            self._call("DELETE", f"/photos/{kept.photo_id}", also=(404,))  # 404: erased by a call that had no answer

    def _protect(self) -> Kept:
        photo = picture(64, 64, seed=self._random.randrange(2**32))
        custody = self._random.choices([Custody.SERVER, Custody.SPLIT, Custody.CALLER], [7, 2, 1])[0]
        password = None if custody is Custody.SERVER else f"a password of {uuid.uuid4()}"
        variants = self._random.choice((1, 1, 2))
        form: dict[str, str] = {"custody": custody, "variants": str(variants)}
        if password:
            form["password"] = password
        files = {"photo": ("p.png", photo.to_png())}
        said = self._call("POST", "/protect", data=form, files=files, headers=self._once()).json()
        kept = Kept(said["photo_id"], said["job_id"], photo.sha256, variants, custody, password)
        self._ledger.jobs[kept.job_id], self._ledger.photos[kept.photo_id] = "protect", kept
        return kept

    def _restore(self, kept: Kept) -> None:
        form = {"photo_id": kept.photo_id, "reason": "fault test"} | (
            {"password": kept.password} if kept.password else {}
        )
        job_id = self._call("POST", "/restore", data=form, headers=self._once()).json()["job_id"]
        self._ledger.jobs[job_id] = "restore"
        job = self._end_of(job_id)
        link = (job["result"] or {}).get("link")
        if not link:
            return  # it failed, or the one answer with the link was lost on its way
        with Image.open(io.BytesIO(self._call("GET", link, headers={"X-API-Key": ""}).content)) as image:
            if Photo(np.asarray(image.convert("RGB"))).sha256 != kept.sha256:
                self._ledger.broken.append(f"{job_id} restored another picture")
        self._ledger.restored += 1

    def _end_of(self, job_id: str) -> dict[str, Any]:
        for _ in range(10_000):
            job: dict[str, Any] = self._call("GET", f"/jobs/{job_id}").json()
            if job["state"] not in ("queued", "running"):
                return job
            time.sleep(0.2)
        raise GivenUp(job_id)

    def _call(self, method: str, path: str, also: tuple[int, ...] = (), **words: Any) -> httpx2.Response:
        """Sends again what had no answer, as its Idempotency-Key allows, and what the service asks to send again."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            try:
                answer = self._http.request(method, path, **words)
            except httpx2.HTTPError as error:
                self._ledger.answers[type(error).__name__] += 1
            else:
                code = "" if answer.is_success else _code(answer)
                self._ledger.answers[f"{answer.status_code} {code}".strip()] += 1
                if answer.is_success or answer.status_code in also:
                    return answer
                if answer.status_code not in (429, 503) and code not in ("idempotency_in_progress", "store"):
                    raise AssertionError(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
            time.sleep(self._random.uniform(0.2, 1.5))
        raise GivenUp(f"{method} {path}")

    def _once(self) -> dict[str, str]:
        return {"Idempotency-Key": str(uuid.uuid4())}


def _code(answer: httpx2.Response) -> str:
    """A problem's code; "store" for what the object store itself answers while it is ill."""
    if answer.headers.get("content-type", "").startswith("application/problem+json"):
        return str(answer.json()["code"])
    return "store"
