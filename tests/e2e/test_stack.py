"""The local stack itself: restarts without loss, stops cleanly, says what died."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest
import redis

from deploy.local import LocalStack, tail

pytestmark = pytest.mark.e2e


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_restart_on_the_same_folder_keeps_everything(tmp_path: Path) -> None:
    form = {"password": "correct horse battery"}
    with LocalStack(tmp_path) as stack:
        key, pids = stack.api_key, [p.process.pid for p in stack.parts if p.process]
        client = redis.Redis(port=stack.ports["broker"], password=stack.secrets["broker"])
        client.set("kept", "yes")
        client.close()
        stack.parts[2].stop()  # no worker: the job must wait
        from skimage import data

        from core.vault.restoration import png_bytes

        accepted = httpx2.post(
            f"{stack.api_url}/protect", data=form, files={"photo": ("a.png", png_bytes(data.astronaut()))},
            headers={"X-API-Key": key}, timeout=60,
        )  # fmt: skip
        assert accepted.status_code == 202
    assert not any(alive(pid) for pid in pids)
    with LocalStack(tmp_path) as again:
        assert again.api_key == key
        client = redis.Redis(port=again.ports["broker"], password=again.secrets["broker"])
        assert client.get("kept") == b"yes"
        client.close()
        for _ in range(240):
            url = f"{again.api_url}{accepted.headers['location']}"
            job = httpx2.get(url, headers={"X-API-Key": key}).json()
            if job["state"] not in ("queued", "running"):
                break
            time.sleep(0.5)
        assert job["state"] == "succeeded"


def test_up_announces_itself_stops_on_ctrl_c_and_leaves_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "sider", "up", "--data", str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("sdr_")
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    process.stdout.close()
    left = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True, check=False)
    assert left.stdout == ""


def test_up_says_which_part_died(tmp_path: Path) -> None:
    with (tmp_path / "err").open("w") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "sider", "up", "--data", str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=err,
            text=True,
        )
        assert process.stdout is not None
        process.stdout.readline()
        found = subprocess.run(["pgrep", "-f", f"{tmp_path}/valkey"], capture_output=True, text=True, check=True)
        os.kill(int(found.stdout.split()[0]), signal.SIGKILL)
        assert process.wait(60) == 2
        process.stdout.close()
    assert "valkey has ended by itself" in tail(tmp_path / "err", 100)
