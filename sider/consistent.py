"""`sider protect --consistent`: the same person becomes the same new identity in all photos of a run."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from core import pseudonyms
from core.errors import SiderError
from core.methods import id2face
from core.networks.personas import plain
from core.stages.sandbox import read_upload
from core.stages.validate import Photo
from sider.bars import counted
from sider.files import read_file
from sider.local import Engine, networks
from sider.runs import is_there


def with_pseudonyms(
    engine: Engine, photos: list[tuple[Path, Path]], done: Mapping[Path, dict[str, Any]], console: Console
) -> Engine:
    """The engine with a persona for each face; people in photos that are `done` keep theirs (RequestRefused)."""
    if all(path in done and is_there(done[path]) for path, _ in photos):
        return engine
    paths, before = {}, {}
    for path, _ in photos:
        try:
            digest = sha256(read_file(path, engine.max_bytes)).hexdigest()
        except (SiderError, OSError):
            continue  # the run itself tells of it
        paths[digest] = path
        if path in done:
            before[digest] = [plain(face["persona"]) for face in done[path]["report"]["variants"][0]]
    wish = engine.wish
    config = replace(id2face.PRESETS[wish.preset], presentation=wish.presentation, age=wish.age)
    generator = torch.Generator().manual_seed(secrets.randbits(63) if wish.seed is None else wish.seed)

    def read(digest: str) -> Photo:
        return read_upload(read_file(paths[digest], engine.max_bytes), engine.limits)

    album = pseudonyms.Album(list(paths), read, networks())
    with counted("who is who", console) as step:
        return replace(engine, personas=pseudonyms.draw(album, config, before, generator, step))
