"""What TERM makes of a worker with a job and of an API that somebody waits for."""

from __future__ import annotations

import threading
import time

import httpx2
import pytest

from core.stages.validate import Photo
from deploy.local import LocalStack

pytestmark = pytest.mark.e2e
FORM = {"password": "correct horse battery"}


def test_a_worker_hands_its_job_back_when_the_grace_is_over(
    stack: LocalStack, http: httpx2.Client, astronaut: Photo
) -> None:
    worker = stack.part("worker")
    worker.env["SIDER_GRACE_SECONDS"] = "0"
    stack.restart(worker)
    accepted = http.post("/protect", data=FORM, files={"photo": ("a.png", astronaut.to_png())})
    location = accepted.headers["location"]
    while http.get(location).json()["step"] != "optimise":
        time.sleep(0.05)
    process = worker.process
    worker.stop()
    assert process
    assert process.returncode == 0
    job = http.get(location).json()
    assert (job["state"], job["attempt"]) == ("queued", 1)
    assert http.delete(location).json()["state"] == "cancelled"
    del worker.env["SIDER_GRACE_SECONDS"]
    stack.restart(worker)


def test_nobody_who_waits_for_a_job_holds_up_the_api(stack: LocalStack, http: httpx2.Client, astronaut: Photo) -> None:
    worker, api = stack.part("worker"), stack.part("api")
    worker.stop()
    files = {"photo": ("a.png", astronaut.to_png())}
    location = http.post("/protect", data=FORM, files=files).headers["location"]
    answers: list[httpx2.Response] = []

    def wait() -> None:
        answers.append(http.post("/protect", files=files, headers={"Prefer": "wait=30"}))

    waiting = threading.Thread(target=wait)
    waiting.start()
    with http.stream("GET", f"{location}/events") as stream:
        lines = stream.iter_lines()
        assert next(lines) == "event: job"
        while len(http.get("/jobs", params={"state": "queued"}).json()["jobs"]) < 2:
            time.sleep(0.05)
        stack.restart(api)
        assert "event: end" not in list(lines)  # closed in order, to be resumed
    waiting.join()
    assert answers[0].status_code == 202
    assert answers[0].json()["restore_code"]
    for queued in (location, answers[0].headers["location"]):
        assert http.delete(queued).json()["state"] == "cancelled"
    stack.restart(worker)
