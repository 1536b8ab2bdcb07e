"""The API over the real job table and vault, with objects and queue in memory."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from limits.aio.storage import MemoryStorage
from PIL import Image
from prometheus_client import REGISTRY

from api.app import create_app
from api.limits import RateLimits
from api.parts import Parts
from api.session import CSRF_HEADER
from core.jobs import database
from core.jobs.heads import Heads
from core.settings import Settings
from core.stages.validate import Photo
from core.vault.keyring import Keyring
from core.vault.shelf import Shelf
from tests.fakes import LightEngine, MemoryBlobs, MemoryBroker, picture
from worker import tasks
from worker.context import Context

PASSWORD = "correct horse battery"
PHOTO = picture()
OWN = {"Origin": "http://testserver"}  # of the service's own pages


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

    def sign_in(self, *scopes: str, tenant: str = "bank") -> dict[str, str]:
        """Sign the client in; the header fields that its pages send."""
        _, key = self.parts.keys.issue(tenant, scopes)
        answer = self.client.post("/sign-in", data={"key": key}, headers=OWN, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        [token] = re.findall(r'name="csrf" content="(\w+)"', self.client.get("/").text)
        return {"HX-Request": "true", CSRF_HEADER: token, **OWN}

    def change(self, **settings: Any) -> None:
        """From now on the service has other settings."""
        self.replace(settings=self.parts.settings.model_copy(update=settings))

    def replace(self, **parts: Any) -> None:
        """From now on the service has other parts."""
        self.parts = self.client.app.state.parts = replace(self.parts, **parts)  # type: ignore[attr-defined]

    def work(self, engine: LightEngine | None = None) -> None:
        """Let a worker take every message."""
        context = self.context(engine)
        while self.broker.messages:
            tasks.run(self.broker.messages.pop(0), context)
        context.heads.anchor()

    def context(self, engine: LightEngine | None = None) -> Context:
        """A worker's view of the same parts."""
        parts = self.parts
        return Context(
            settings=parts.settings,
            jobs=parts.jobs,
            photos=parts.photos,
            receipts=parts.receipts,
            webhooks=parts.webhooks,
            shelf=parts.shelf,
            engine=engine or LightEngine(),
            heads=Heads(parts.audit, self.heads, parts.shelf.keyring, seconds=1e-9),
        )

    def upload(self, headers: dict[str, str], photo: Photo = PHOTO, **form: Any) -> Any:
        data = {"password": PASSWORD, **form}
        return self.client.post(
            "/protect", files={"photo": ("me.png", photo.to_png(), "image/png")}, headers=headers,
            data={k: v for k, v in data.items() if v is not None},
        )  # fmt: skip

    def send(self, path: str, headers: dict[str, str], photo_id: str, **form: Any) -> Any:
        """The answer to a photo, sent to any of the calls that take one; `photo_id` is what is to be restored."""
        usual = {
            "/protect": {"password": PASSWORD}, "/photos/verify": {},
            "/restore": {"photo_id": photo_id, "password": PASSWORD, "reason": "dispute 1"},
        }  # fmt: skip
        photo = {"photo": ("me.png", PHOTO.to_png(), "image/png")}
        return self.client.post(path, headers=headers, files=photo, data=usual[path] | form)

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
        with Image.open(io.BytesIO(self.photos.behind(link))) as image:
            return np.asarray(image)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    settings = Settings(
        database_url=f"sqlite:///{tmp_path / 'sider.db'}", keyring_file=tmp_path / "k.json", max_queue=5,
        tenant_share=1, max_upload_bytes=300_000,
    )  # fmt: skip
    database.upgrade(settings.database_url)
    engine = database.connect(settings.database_url)
    photos, keys, broker = MemoryBlobs(), MemoryBlobs(), MemoryBroker()
    shelf = Shelf(photos, keys, Keyring.open_or_create(settings.keyring_file))
    limits = RateLimits(MemoryStorage(), {"writes": "600/day", "reads": "600/day"})
    parts = Parts(settings, engine, shelf, broker, limits)
    with TestClient(create_app(settings, parts)) as client:
        yield Service(client, parts, photos, keys, MemoryBlobs(), broker, tmp_path)
    engine.dispose()


@pytest.fixture
def since() -> Callable[..., float]:
    """How much a sample has grown since the test began."""
    before = {(s.name, *sorted(s.labels.items())): s.value for m in REGISTRY.collect() for s in m.samples}

    def grown(name: str, **labels: str) -> float:
        now = REGISTRY.get_sample_value(name, labels) or 0
        return now - before.get((name, *sorted(labels.items())), 0)

    return grown
