"""What is installed and what is missing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from core.errors import SiderError
from core.networks import Networks, facenet
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
            table.add_row(name, "[red]missing[/]", "pip install 'sider[worker,api]'")
    cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else "no CUDA device"
    table.add_row("device", settings.device or ("cuda" if torch.cuda.is_available() else "cpu"), cuda)
    table.add_row("threads", str(torch.get_num_threads()), f"{os.cpu_count()} cores")
    healthy = True
    try:
        networks = Networks.load(settings.bundle, settings.device, settings.licence_class)
    except SiderError as error:
        healthy = False
        table.add_row("bundle", f"[red]{error.code}[/]", str(error))
    else:
        table.add_row("bundle", networks.bundle, "every file matches its sha256")
        table.add_row("personas", str(len(networks.personas)), "mirror images counted")
        for encoder in networks.encoders:
            table.add_row(f"encoder {encoder.name}", f"[green]{encoder.role}[/]", "")
        for name, reason in networks.missing.items():
            table.add_row(f"encoder {name}", "[yellow]absent (optional)[/]", reason)
    console.print(table)
    return 0 if healthy else 1


def fetch(name: str) -> Path:
    """Download the weights of an optional encoder (ConfigurationError)."""
    return facenet.download(name)
