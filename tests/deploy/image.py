"""Does what a Dockerfile says, in a folder, without Docker: its COPY and RUN steps literally, its paths moved."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from docker.utils.build import exclude_paths
from dockerfile_parse import DockerfileParser

from core.settings import Settings

ROOT = Path(__file__).parents[2]
SETTINGS = Settings.model_fields.keys()
PATHS = ("/opt/sider", "/src")  # of the build stages


def context() -> set[str]:
    """The files that .dockerignore lets through."""
    patterns = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in patterns if line and not line.startswith("#")]
    found = exclude_paths(str(ROOT), patterns) - {".dockerignore"}  # which the builder itself needs
    return {path for path in found if (ROOT / path).is_file()}


def stages(dockerfile: Path) -> dict[str, list[tuple[str, str]]]:
    """Instructions by the name of their stage; that of the last one is "" (the stage's FROM included)."""
    found: dict[str, list[tuple[str, str]]] = {}
    for step in DockerfileParser(fileobj=BytesIO(dockerfile.read_bytes())).structure:
        if step["instruction"] == "FROM":
            current = found.setdefault(step["value"].partition(" AS ")[2], [])
        if found and step["instruction"] != "COMMENT":
            current.append((step["instruction"], step["value"]))
    return found


@dataclass(frozen=True)
class Image:
    """`folder` takes the place of the build stages' root. Python is the interpreter that these tests run on."""

    dockerfile: Path
    folder: Path

    @property
    def prefix(self) -> Path:
        return self.folder / "opt/sider"

    def build(self, *names: str) -> None:
        """Do the steps of these stages (CalledProcessError)."""
        source = self.folder / "src"
        source.mkdir(parents=True)
        # The interpreter beneath the tests' virtual environment, as that of the base image, and nothing of ours.
        env = {"PATH": f"{sys.base_prefix}/bin:/usr/bin:/bin", "HOME": str(self.folder)}
        for name in names:
            for instruction, value in stages(self.dockerfile)[name]:
                if instruction == "ENV":
                    env |= dict(pair.split("=", 1) for pair in shlex.split(self._moved(value)))
                elif instruction == "COPY":
                    self._copy(*value.split(), source)
                elif instruction == "RUN":
                    subprocess.run(["/bin/sh", "-ec", self._moved(value)], env=env, cwd=source, check=True)

    def _moved(self, text: str) -> str:
        for path in PATHS:
            text = text.replace(path, f"{self.folder}{path}")
        return text

    def _copy(self, what: str, where: str, source: Path) -> None:
        files = sorted(context()) if what == "." else [what]
        for name in files:
            target = source / (name if what == "." else where)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)


def size(folder: Path) -> int:
    """Bytes of all files."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
