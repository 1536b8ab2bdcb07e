"""A real worker that cannot work: it ends rather than eat the queue."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest

from core.errors import ConfigurationError
from deploy.local import LocalStack
from tests.e2e.conftest import finished
from tests.fakes import picture

pytestmark = pytest.mark.e2e


class Broken(LocalStack):
    worker_app = "tests.worker.unfit"


def test_a_worker_whose_device_failed_is_followed_by_another_and_one_without_networks_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNFIT_ONCE", str(tmp_path / "once"))
    photo = {"photo": ("a.png", picture().to_png(), "image/png")}
    with Broken(tmp_path / "stack") as stack, httpx2.Client(base_url=stack.api_url, timeout=60) as http:
        http.headers["X-API-Key"] = stack.api_key
        job = finished(http, http.post("/protect", files=photo))
        assert (job["state"], job["attempt"]) == ("succeeded", 2), job
        broken = (tmp_path / "once").read_text(encoding="utf-8")
        with pytest.raises(ProcessLookupError):
            os.kill(int(broken), 0)

        worker = stack.part("worker")
        worker.stop()
        accepted = http.post("/protect", files=photo)
        worker.env["UNFIT_NETWORKS"] = "1"
        with suppress(ConfigurationError):  # it may have ended before it was seen to answer
            stack.restart(worker)
        assert worker.process
        assert worker.process.wait(60) == os.EX_CONFIG
        assert "networks_not_loaded" in worker.log.read_text(encoding="utf-8")
        assert http.get(accepted.headers["location"]).json()["state"] == "queued"
