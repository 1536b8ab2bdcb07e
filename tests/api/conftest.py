"""The API over the real job table and vault, with objects and queue in memory."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from api.app import create_app
from api.parts import Parts
from core.jobs import database
from core.jobs.heads import Heads
from core.settings import Settings
from core.vault.keyring import Keyring
from core.vault.shelf import Shelf
from tests.fakes import LightEngine, MemoryBlobs, MemoryBroker, picture
from worker import tasks
from worker.context import Context

PASSWORD = "correct horse battery"
PHOTO = picture()


@dataclass
class Service:
    """A client, the parts behind it, and a worker that runs when told."""

    client: TestClient
    parts: Parts
    photos: MemoryBlobs
    keys: MemoryBlobs
    heads: MemoryBlobs
    broker: MemoryBroker
    folder: Path

    def key(self, *scopes: str, tenant: str = "bank") -> dict[str, str]:
        _, text = self.parts.keys.issue(tenant, scopes)
        return {"Authorization": f"Bearer {text}"}

    def work(self, engine: LightEngine | None = None) -> None:
        """Let a worker take every message."""
        parts = self.parts
        heads = Heads(parts.audit, self.heads, parts.shelf.keyring, seconds=1e-9)
        context = Context(parts.settings, parts.jobs, parts.photos, parts.shelf, engine or LightEngine(), heads)
        while self.broker.messages:
            tasks.run(self.broker.messages.pop(0), context)
        heads.anchor()

    def upload(self, headers: dict[str, str], **form: Any) -> Any:
        data = {"password": PASSWORD, **form}
        return self.client.post(
            "/protect", files={"photo": ("me.png", PHOTO.to_png(), "image/png")}, headers=headers,
            data={k: v for k, v in data.items() if v is not None},
        )  # fmt: skip

    def protected(self, **form: Any) -> tuple[dict[str, str], str]:
        """Headers that may do all, and the id of a protected photo."""
        headers = self.key("protect", "restore")
        accepted = self.upload(headers, **form).json()
        self.work()
        return headers, accepted["photo_id"]

    def restored(self, headers: dict[str, str], photo_id: str, password: str = PASSWORD, **more: Any) -> Any:
        """The finished job of a restoration."""
        form = {"photo_id": photo_id, "password": password, "reason": "dispute 1"}
        answer = self.client.post("/restore", headers=headers, data=form, **more)
        assert answer.status_code == 202, answer.text
        self.work()
        return self.client.get(answer.headers["location"], headers=headers).json()

    def stored(self, link: str) -> np.ndarray:
        """The picture behind a link."""
        with Image.open(io.BytesIO(self.photos.objects[link.removeprefix("memory:")])) as image:
            return np.asarray(image)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    settings = Settings(
        database_url=f"sqlite:///{tmp_path / 'sider.db'}", keyring_file=tmp_path / "k.json", max_queue=5,
        max_upload_bytes=300_000,
    )  # fmt: skip
    database.upgrade(settings.database_url)
    engine = database.connect(settings.database_url)
    photos, keys, broker = MemoryBlobs(), MemoryBlobs(), MemoryBroker()
    parts = Parts(settings, engine, Shelf(photos, keys, Keyring.open_or_create(settings.keyring_file)), broker)
    with TestClient(create_app(settings, parts)) as client:
        yield Service(client, parts, photos, keys, MemoryBlobs(), broker, tmp_path)
    engine.dispose()
