"""What the folder of a local service keeps besides data: a lock, passwords, and ports."""

from __future__ import annotations

import fcntl
import json
import random
import socket
from collections.abc import Mapping
from pathlib import Path
from secrets import token_hex
from typing import IO, Any

from core.errors import ConfigurationError
from core.settings import Settings

HOST = "127.0.0.1"
REGION = "us-east-1"
SECRETS = ("broker", "s3_access", "s3_secret", "weed_write", "weed_read", "weed_filer_write", "weed_filer_read")
PORTS = ("api", "broker", "s3", "master", "volume", "filer", "admin", "metrics")
# SeaweedFS also takes each of its ports + OFFSET. Both ranges are below that of outgoing connections.
FIRST, COUNT, OFFSET = 12_000, 10_000, 10_000


def lock(path: Path) -> IO[str]:
    """One stack a folder. The servers inherit the lock, so it also holds while one of them is left over.

    Raises:
        ConfigurationError: somebody has it.
    """
    file = path.open("a", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise ConfigurationError(f"{path.parent} is in use: another local service runs on it") from None
    return file


def secrets(path: Path) -> dict[str, str]:
    """Random passwords of the servers, made once."""
    if not path.is_file():
        write(path, {name: token_hex(20) for name in SECRETS})
    found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return found


def ports(path: Path, api_port: int | None) -> dict[str, int]:
    """The ports of the last run as far as they are free, else new ones; the API's as asked, which no other gets.

    Raises:
        ConfigurationError: the port asked for is taken.
    """
    if api_port is not None and not free(api_port):
        raise ConfigurationError(f"port {api_port} is taken; choose another with --port")
    known: dict[str, int] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    found = {} if api_port is None else {"api": api_port}
    for name in (name for name in PORTS if name not in found):
        port = known.get(name, 0)
        while port == 0 or {port, port + OFFSET} & {*found.values()} or not (free(port) and free(port + OFFSET)):
            port = random.randrange(FIRST, FIRST + COUNT)  # noqa: S311 - nothing secret about a port
        found[name] = port
    write(path, found)
    return found


def environment(data: Path, secrets: Mapping[str, str], ports: Mapping[str, int]) -> dict[str, str]:
    """The SIDER_* variables of API and worker."""
    return {
        "SIDER_DATABASE_URL": f"sqlite:///{data / 'sider.db'}",
        "SIDER_BROKER_URL": f"redis://:{secrets['broker']}@{HOST}:{ports['broker']}/0",
        "SIDER_S3_ENDPOINT": f"http://{HOST}:{ports['s3']}",
        "SIDER_S3_REGION": REGION,
        "SIDER_S3_ACCESS_KEY": secrets["s3_access"],
        "SIDER_S3_SECRET_KEY": secrets["s3_secret"],
        "SIDER_KEYRING_FILE": str(data / "keyring.json"),
    }


def settings(environment: Mapping[str, str]) -> Settings:
    """What SIDER_* variables say."""
    return Settings.model_validate({name.removeprefix("SIDER_").lower(): value for name, value in environment.items()})


def of_running(data: Path) -> Settings:
    """Of the local service that keeps its data there.

    Raises:
        ConfigurationError: there is none.
    """
    if not (data / "sider.db").is_file():
        raise ConfigurationError(
            f"no service keeps its data in {data}; start it (sider up), name its folder (--data), or its database "
            "in SIDER_DATABASE_URL"
        )
    known = (json.loads((data / name).read_text(encoding="utf-8")) for name in ("secrets.json", "ports.json"))
    return settings(environment(data.resolve(), *known))


def free(port: int) -> bool:
    """Can a server listen there?"""
    with socket.socket() as probe:
        # As servers do: a connection that ended a moment ago does not make its port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError):
            return False
    return True


def write(path: Path, values: Mapping[str, Any]) -> None:
    """All or nothing, for our eyes only."""
    fresh = path.with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_text(json.dumps(values, indent=1), encoding="utf-8")
    fresh.replace(path)
