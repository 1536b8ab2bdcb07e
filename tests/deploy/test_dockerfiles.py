"""What can be said of the images without building them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.image import ROOT, SETTINGS, context, stages

DOCKERFILES = [ROOT / "Dockerfile.api", ROOT / "Dockerfile.worker"]
HADOLINT = Path(sys.executable).with_name("hadolint")
LOCKS = ROOT / "deploy/requirements"
TORCH = re.compile(r"(torch|torchvision|triton|nvidia-.*|cuda-.*|diffusers|facenet-pytorch)")


def pins(lock: Path) -> dict[tuple[str, str], str]:
    """The hashes of each (package, version and markers) of a lock."""
    entries = re.split(r"\n(?=\S)", lock.read_text(encoding="utf-8").strip())
    found = (re.match(r"([^=]+)==(.+?) \\\n(.*)", entry, re.S) for entry in entries)
    return {(m[1], m[2].partition(" ")[0]): m[3] for m in found if m}


@pytest.mark.skipif(not HADOLINT.exists(), reason="hadolint is packaged for Linux on x86-64 only")
@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_finds_nothing(dockerfile: Path) -> None:
    done = subprocess.run([HADOLINT, dockerfile], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_images_run_as_nobody_in_particular_and_stop_in_order(dockerfile: Path) -> None:
    last = dict(stages(dockerfile)[""])
    assert re.fullmatch(r"\d+:\d+", last["USER"])
    assert last["STOPSIGNAL"] == "SIGTERM"
    assert last["CMD"].startswith("["), "a shell would not hand the signal on"
    assert "HEALTHCHECK" in last
    bases = re.findall(r"^ARG BASE=(\S+)$", dockerfile.read_text(encoding="utf-8"), re.M)
    assert all(re.fullmatch(r"python:3\.\d+\.\d+-slim-bookworm", base) for base in bases), bases
    names = {name.lower() for name in re.findall(r"SIDER_(\w+)=", last["ENV"])}
    assert names - {"secrets_dir"} <= SETTINGS


def test_only_the_service_gets_into_the_images() -> None:
    sent = context()
    assert {path.partition("/")[0] for path in sent} == {
        "LICENSE", "README.md", "api", "core", "deploy", "pyproject.toml", "sider", "worker",
    }  # fmt: skip
    assert not [path for path in sent if "secret" in path and path != "core/vault/secrets.py"]
    assert all(path.startswith("deploy/requirements/") or path.endswith(".py") for path in sent if "deploy/" in path)


def test_images_have_the_versions_that_are_tested() -> None:
    tested = pins(ROOT / "requirements.lock")
    locks = {name: pins(LOCKS / f"{name}.lock") for name in ("api", "worker-cuda", "worker-cpu")}
    for name, lock in locks.items():
        assert lock.items() <= tested.items(), f"{name}.lock is older than requirements.lock; run: make lock"
    without_torch = {key: hashes for key, hashes in locks["worker-cuda"].items() if not TORCH.fullmatch(key[0])}
    assert without_torch.items() <= locks["worker-cpu"].items()
    assert not [package for package, _ in locks["api"] if TORCH.fullmatch(package)]
    cpu_only = {package for package, _ in locks["worker-cpu"]}
    assert not cpu_only & {"torch", "torchvision", "triton"}
    assert "diffusers" in cpu_only
