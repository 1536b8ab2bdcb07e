"""RESULTS.md: one section a benchmark, each with the machine and the commit that printed it."""

from __future__ import annotations

import platform
import re
import subprocess
from pathlib import Path

import torch

RESULTS = Path(__file__).with_name("RESULTS.md")
HEAD = "# Results\n\nWritten by the commands named below; edit nothing by hand.\n"


def put(name: str, title: str, parts: list[str]) -> None:
    """Replace (or add) the section of one benchmark, and print it."""
    section = f"<!-- {name} -->\n## {title}\n\n{machine()}\n\n" + "\n\n".join(parts) + f"\n<!-- end of {name} -->\n"
    text = RESULTS.read_text(encoding="utf-8") if RESULTS.is_file() else HEAD
    old = re.search(rf"<!-- {name} -->\n.*<!-- end of {name} -->\n", text, re.DOTALL)
    text = text.replace(old.group(), section) if old else f"{text}\n{section}"
    RESULTS.write_text(text, encoding="utf-8")
    print(section)


def machine() -> str:
    """Device, versions and commit; says when the tree differed from the commit."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603, S607

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "*.py", "core/networks/bundle")
    commit = (git("rev-parse", "--short", "HEAD") or "unknown") + (" and uncommitted changes" if changed else "")
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{device}; {platform.machine()}, {versions}; commit {commit}."


def bullets(facts: dict[str, str]) -> str:
    return "\n".join(f"* {name}: {value}" for name, value in facts.items())


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
