"""Adding a protection method takes one file in core/methods."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
METHOD = '''"""Mirrors the face: a method for this test."""
from dataclasses import dataclass
from core.promise import Promise
from core.stages.optimise import Protected

PROMISE = Promise(people_recognise=True, machines_match=True)

@dataclass(frozen=True)
class Config:
    margin: float = 0.0
    variants: int = 1

PRESETS = {"standard": Config(), "twice": Config()}

def protect(faces, networks, config, generator, progress):
    return Protected((faces.images.flip(-1),) * config.variants, 0)
'''
ASKED = """
import json, torch
from pathlib import Path
from fastapi.testclient import TestClient
from typer.testing import CliRunner
from api.app import create_app
from core.networks import Networks
from core.pipeline import Request, attempt
from core.stages.validate import Photo
from core.vault.keyring import Keyring
from sider.command import app
from skimage.data import astronaut

Keyring.open_or_create(Path("keyring.json"))
photo = Photo(astronaut()[:256, 100:356].copy())
print(json.dumps({
    "schema": create_app().openapi()["components"]["schemas"],
    "help": CliRunner().invoke(app, ["protect", "--help"], env={"COLUMNS": "200"}).output,
    "report": attempt(photo, Request("mirror", "twice"), Networks.load(), lambda *_: None).report,
}))
"""


def test_one_file_is_enough(tmp_path: Path) -> None:
    """For the API's schema, the command line and the engine; the test suite takes its methods from the register."""
    for package in ("api", "core", "sider", "worker", "deploy"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "core" / "methods" / "mirror.py").write_text(METHOD, encoding="utf-8")
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", ASKED], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert "mirror" in json.dumps(said["schema"])
    assert "mirror" in said["help"]
    assert said["report"]["method"] == "mirror"
    assert said["report"]["promise"] == {"people_recognise": True, "machines_match": True}
