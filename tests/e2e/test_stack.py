"""The local stack itself: restarts without loss, stops cleanly, says what died."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
import redis

from core.errors import ConfigurationError
from deploy import folder
from deploy.local import LocalStack
from deploy.part import tail
from deploy.prepare import prepare

pytestmark = pytest.mark.e2e


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_restart_on_the_same_folder_keeps_everything(tmp_path: Path) -> None:
    form = {"password": "correct horse battery", "preset": "natural"}
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
        (tmp_path / "keyring.json").unlink()
        with pytest.raises(ConfigurationError, match="there is no keyring"):  # a fresh one would open nothing
            prepare(folder.of_running(tmp_path))


@contextmanager
def sider_up(data: Path) -> Iterator[subprocess.Popen[str]]:
    """`sider up`, ready; its messages go to DATA/err."""
    with (data / "err").open("w") as err:
        argv = [sys.executable, "-m", "sider", "up", "--data", str(data)]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=err, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline().startswith("sdr_"), tail(data / "err")
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def servers(process: subprocess.Popen[str]) -> dict[str, int]:
    """Process ids of its parts by a word of their command lines."""
    listed = subprocess.run(["pgrep", "-a", "-P", str(process.pid)], capture_output=True, text=True, check=True)
    words = ("valkey", "weed", "celery", "uvicorn")
    return {word: int(line.split()[0]) for line in listed.stdout.splitlines() for word in words if word in line}


def left_after(pids: Collection[int], seconds: float = 60) -> list[int]:
    """Which of the processes are still there when this time is over; returns at once when all have gone."""
    deadline = time.monotonic() + seconds
    while (left := [pid for pid in pids if alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def test_up_has_its_folder_for_itself_and_stops_on_ctrl_c(tmp_path: Path) -> None:
    with sider_up(tmp_path) as process:
        pids = servers(process)
        assert len(pids) == 4
        with pytest.raises(ConfigurationError, match="in use"):
            LocalStack(tmp_path).__enter__()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert not any(alive(pid) for pid in pids.values())


def test_up_says_which_part_died(tmp_path: Path) -> None:
    with sider_up(tmp_path) as process:
        pids = servers(process)
        os.kill(pids["celery"], signal.SIGKILL)
        assert process.wait(60) == 2
    told = tail(tmp_path / "err", 100).replace("\n", " ")
    assert "worker has ended by itself (killed by signal 9)" in told
    assert "worker@local ready" in told  # the end of its log
    assert not any(alive(pid) for pid in pids.values())


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_even_kill_9_of_up_leaves_no_server(tmp_path: Path) -> None:
    with sider_up(tmp_path) as process:
        pids = servers(process)
        assert all(alive(pid) for pid in pids.values())
        process.kill()
    assert left_after(pids.values()) == []


def test_a_part_that_does_not_start_is_named_and_the_others_are_stopped(tmp_path: Path) -> None:
    stack = LocalStack(tmp_path)
    broken = tmp_path / "valkey" / "appendonlydir"
    broken.mkdir(parents=True)
    (broken / "appendonly.aof.manifest").write_text("nonsense")
    with pytest.raises(ConfigurationError, match=r"valkey has ended by itself(.|\n)*manifest"):
        stack.__enter__()
    assert not stack.parts
    left = subprocess.run(["pgrep", "-f", f"dir={tmp_path}"], capture_output=True, text=True, check=False)
    assert left.stdout == ""
