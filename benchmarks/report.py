"""RESULTS.md: one section a benchmark, each with the machine and the commit that printed it."""

from __future__ import annotations

import platform
import re
import subprocess
from argparse import ArgumentParser, Namespace
from html import escape
from pathlib import Path

import torch

RESULTS = Path(__file__).with_name("RESULTS.md")
HEAD = "# Results\n\nWritten by the commands named below; edit nothing by hand.\n"


CPU = torch.device("cpu")


def put(name: str, title: str, parts: list[str], device: torch.device = CPU) -> None:
    """Replace (or add) the section of one benchmark, and print it. device: what the engine ran on."""
    section = (
        f"<!-- {name} -->\n## {title}\n\n{machine(device)}\n\n" + "\n\n".join(parts) + f"\n<!-- end of {name} -->\n"
    )
    text = RESULTS.read_text(encoding="utf-8") if RESULTS.is_file() else HEAD
    old = re.search(rf"<!-- {name} -->\n.*<!-- end of {name} -->\n", text, re.DOTALL)
    text = text.replace(old.group(), section) if old else f"{text}\n{section}"
    RESULTS.write_text(text, encoding="utf-8")
    print(section)


def command(parser: ArgumentParser, args: Namespace) -> str:
    """The command that prints this section again: `prog`, and all options that were not left as they are."""
    words = [parser.prog]
    for name, value in vars(args).items():
        if value != parser.get_default(name):
            told = value if isinstance(value, list) else [] if value is True else [value]
            words += [f"--{name.replace('_', '-')}", *map(str, told)]
    return " ".join(words)


def machine(device: torch.device = CPU) -> str:
    """Device, versions and commit; says when the tree differed from the commit."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603, S607

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "*.py", "core/networks/bundle")
    commit = (git("rev-parse", "--short", "HEAD") or "unknown") + (" and uncommitted changes" if changed else "")
    on_cpu = f"CPU, {torch.get_num_threads()} threads"
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else on_cpu
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{name}; {platform.machine()}, {versions}; commit {commit}."


def bullets(facts: dict[str, str]) -> str:
    return "\n".join(f"* {name}: {value}" for name, value in facts.items())


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_sheet(folder: Path, title: str, faces: list[tuple[str, list[str]]]) -> Path:
    """One HTML page to look at: of each face a caption and the names of pictures in this folder."""
    rows = ((escape(caption), "".join(f'<img src="{name}" alt="">' for name in names)) for caption, names in faces)
    figures = (f"<figure>{shown}<figcaption>{caption}</figcaption></figure>" for caption, shown in rows)
    style = "body{display:flex;flex-wrap:wrap;gap:8px;font:12px sans-serif}figure{margin:0}img{width:190px}"
    page = f"<!doctype html><title>{escape(title)}</title><style>{style}</style>{''.join(figures)}"
    path = folder / "index.html"
    path.write_text(page, encoding="utf-8")
    return path
