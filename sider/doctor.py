"""What is installed and what is missing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from core.errors import ConfigurationError, RequestRefused, SiderError
from core.settings import Settings

PACKAGES = (
    "torch",
    "torchvision",
    "diffusers",
    "facenet-pytorch",
    "face-recognition-models",
    "celery",
    "fastapi",
)


def examine(console: Console) -> int:
    """Print the findings; 0 when photos can be protected here, 1 otherwise."""
    settings = Settings()
    table = Table("part", "state", "what to do", title="sider doctor")
    table.add_row("Python", platform.python_version(), "")
    for name in PACKAGES:
        try:
            table.add_row(name, importlib.metadata.version(name), "")
        except importlib.metadata.PackageNotFoundError:
            table.add_row(name, "[red]missing[/]", escape("pip install 'sider[worker,api]'"))
    healthy = False
    try:
        _engine(table, settings)
        healthy = True
    except SiderError as error:
        table.add_row("bundle", f"[red]{error.code}[/]", escape(str(error)))
    except (ImportError, OSError) as error:  # OSError: of a shared library
        table.add_row("engine", f"[red]{type(error).__name__}[/]", escape(str(error)))
    console.print(table)
    return 0 if healthy else 1


def _engine(table: Table, settings: Settings) -> None:
    # Imported here: what is missing is to be told, not to end the telling.
    import torch  # noqa: PLC0415

    cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else "no CUDA device"
    table.add_row("device", settings.device or ("cuda" if torch.cuda.is_available() else "cpu"), cuda)
    table.add_row("threads", str(torch.get_num_threads()), f"{os.cpu_count()} cores")
    from core.networks import Networks  # noqa: PLC0415

    networks = Networks.load(settings.bundle, settings.device, settings.licence_class)
    table.add_row("bundle", networks.bundle, "every file matches its sha256")
    table.add_row("personas", str(len(networks.personas)), "mirror images counted")
    for encoder in networks.encoders:
        table.add_row(f"encoder {encoder.name}", f"[green]{encoder.role}[/]", "")
    for name, reason in networks.missing.items():
        table.add_row(f"encoder {name}", "[yellow]absent (optional)[/]", reason)


def fetch(name: str) -> Path:
    """Download the weights of an optional encoder.

    Raises:
        RequestRefused: there is no such encoder.
        ConfigurationError: it cannot be downloaded, or what reads it is not installed.
    """
    try:
        from core.networks import facenet  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError(f"{error}; pip install 'sider[worker]'") from error
    if name not in facenet.FILES:
        raise RequestRefused(f"there are no weights of {name!r} to download; known: {', '.join(facenet.FILES)}")
    return facenet.download(name)
