"""Every hostile upload is answered soon, with the right code, in bounded memory, and never by an error of ours."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from core.jobs import database
from core.jobs.keys import ApiKeys
from core.stages.validate import Photo
from deploy.local import LocalStack
from tests.api.conftest import Service
from tests.e2e.test_service import finished, noise
from tests.security import corpus
from tests.security.report import Report
from tests.security.uploads import ACCEPTED, Upload

SECONDS = 2.0
API_MIB = 600


def wrong(upload: Upload, answer: Any) -> str | None:
    """What is wrong with an answer, if anything is."""
    code = ACCEPTED if answer.status_code == 202 else answer.json()["code"]
    if code in upload.answers and answer.status_code < 500:
        return None
    return f"{upload.name}: {answer.status_code} {code} instead of {' or '.join(upload.answers)}"


def test_a_sample_is_answered_rightly(service: Service) -> None:
    service.change(max_queue=1000)
    headers = service.key("protect")
    sample = [upload for upload in corpus.light() if len(upload.data) < 200_000][::12]
    assert len(sample) > 30

    def post(upload: Upload) -> Any:
        return service.client.post("/protect", files={"photo": ("a", upload.data)}, headers=headers)

    assert [fault for upload in sample if (fault := wrong(upload, post(upload)))] == []


@pytest.mark.security
def test_all_are_answered_rightly_soon_and_in_little_memory(stack: LocalStack, report: Report) -> None:
    uploads = [*corpus.light(), *corpus.heavy()]
    engine = database.connect(stack.database_url)
    _, key = ApiKeys(engine).issue("hostile", ("protect",))
    engine.dispose()
    faults, seconds = [], dict[str, float]()
    with httpx2.Client(base_url=stack.api_url, headers={"X-API-Key": key}, timeout=60) as http:
        for upload in uploads:
            began = time.perf_counter()
            answer = http.post("/protect", files={"photo": ("a", upload.data)}, data={"custody": "server"})
            seconds[upload.name] = time.perf_counter() - began
            if answer.status_code == 202:
                http.delete(answer.headers["location"])
            faults.append(wrong(upload, answer))
    slowest = max(seconds, key=lambda name: seconds[name])
    api = next(part.process for part in stack.parts if part.name == "api")
    assert api
    peak = peak_mib(api.pid)
    report.add("hostile uploads", len(uploads))
    report.add("slowest answer", f"{seconds[slowest]:.2f} s ({slowest})")
    report.add("peak memory of the API process", f"{peak} MiB")
    assert len(uploads) >= 300
    assert [fault for fault in faults if fault] == []
    assert seconds[slowest] < SECONDS
    assert peak < API_MIB


def peak_mib(pid: int) -> int:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) // 1024


@pytest.mark.security
def test_no_face_and_200_faces_are_answered_rightly(http: httpx2.Client, astronaut: Photo, report: Report) -> None:
    face = astronaut.pixels[20:240, 120:340][::2, ::2]
    crowd = Photo(np.ascontiguousarray(np.tile(face, (10, 20, 1))))
    for name, data, code in (("no", noise(), "no_face_found"), ("200", crowd.to_png(), "request_invalid")):
        began = time.perf_counter()
        job = finished(http, http.post("/protect", files={"photo": ("a", data)}, data={"custody": "server"}))
        report.add(f"a photo with {name} faces", f"{job['problem']['code']} in {time.perf_counter() - began:.1f} s")
        assert job["problem"]["code"] == code
