"""How long `POST /protect` takes until it answers 202, with many clients at once: this commit beside an earlier one.

Both run on real servers of their own at the same time and are asked in turns, so that a busy machine is unkind to
both. Their workers are stopped: what is measured is acceptance, not the engine beside it.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2
import numpy as np
from PIL import Image
from rich.progress import track
from skimage import data

from benchmarks import report

ROOT = Path(__file__).resolve().parents[1]
# In the tree that is measured: only what its LocalStack has had from the beginning.
SERVE = """
import sys, pathlib
from deploy.local import LocalStack
with LocalStack(pathlib.Path(sys.argv[1])) as stack:
    next(part for part in stack.parts if part.name == "worker").stop()
    print(stack.api_url, stack.api_key, flush=True)
    sys.stdin.read()
"""
UNLIMITED = {"SIDER_MAX_QUEUE": "1000000", "SIDER_TENANT_SHARE": "1", "SIDER_RATE_WRITES": "1000000/minute"}


@contextmanager
def worktree(ref: str) -> Iterator[Path]:
    """A checkout of another commit, as long as it is needed."""
    with tempfile.TemporaryDirectory(prefix="sider-acceptance-") as folder:
        tree = Path(folder) / "tree"
        _git("worktree", "add", "--detach", str(tree), ref)
        try:
            yield tree
        finally:
            _git("worktree", "remove", "--force", str(tree))


@contextmanager
def service(tree: Path) -> Iterator[httpx2.Client]:
    """A client of the service that a tree is."""
    with tempfile.TemporaryDirectory(prefix="sider-acceptance-") as folder:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", SERVE, folder], cwd=tree, env=os.environ | UNLIMITED | {"PYTHONPATH": str(tree)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout
        try:
            url, key = process.stdout.readline().split()
            with httpx2.Client(base_url=url, headers={"X-API-Key": key}, timeout=120) as client:
                yield client
        finally:
            process.communicate("")


def accept(client: httpx2.Client, photo: bytes) -> float:
    """Seconds until a photo is accepted; NaN where it is not."""
    began = time.perf_counter()
    files = {"photo": ("photo.jpg", photo)}
    answer = client.post("/protect", data={"password": "correct horse battery"}, files=files)
    return time.perf_counter() - began if answer.status_code == 202 else np.nan


def _git(*words: str) -> None:
    subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True)  # noqa: S603, S607


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", metavar="REF", required=True, help="the earlier commit")
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each commit, after one to warm up")
    parser.add_argument("--each", type=int, default=10, help="photos of a client in a round")
    args = parser.parse_args()
    buffer = io.BytesIO()
    Image.fromarray(data.astronaut()).save(buffer, "JPEG")
    photos = [buffer.getvalue()] * (args.clients * args.each)
    seconds: dict[str, list[float]] = {"this commit": [], args.against: []}
    with ExitStack() as parts:
        pool = parts.enter_context(ThreadPoolExecutor(args.clients))
        trees = (ROOT, parts.enter_context(worktree(args.against)))
        clients = [parts.enter_context(service(tree)) for tree in trees]
        for turn in track(range(args.rounds + 1), "accept"):
            for client, found in zip(clients, seconds.values(), strict=True):
                times = list(pool.map(lambda photo, client=client: accept(client, photo), photos))
                found.extend(times if turn else [])
    ms = {name: 1000 * np.nanpercentile(found, (50, 95)) for name, found in seconds.items()}
    refused = {name: str(np.isnan(found).sum()) for name, found in seconds.items()}
    rows = [[name, str(len(seconds[name])), refused[name], *(f"{value:.0f}" for value in ms[name])] for name in ms]
    rows.append(["ratio", "", "", *(f"{value:.2f}" for value in ms["this commit"] / ms[args.against])])
    title = f"Acceptance of `POST /protect`: `python -m benchmarks.acceptance --against {args.against}`"
    told = f"{args.clients} clients at once, a photo of {len(photos[0]) // 1024} KiB under a password, no worker."
    report.put("acceptance", title, [told, report.table(["", "photos", "not accepted", "p50, ms", "p95, ms"], rows)])


if __name__ == "__main__":
    main()
