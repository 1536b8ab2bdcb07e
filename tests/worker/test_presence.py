"""A worker process tells that it lives."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from prometheus_client import REGISTRY

from core.errors import ConfigurationError
from core.jobs import database
from core.jobs.workers import Workers, alive
from core.networks import Networks
from worker.presence import Presence


def test_it_says_what_it_does_and_on_what(tmp_path: Path, networks: Networks) -> None:
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    database.upgrade(url)
    engine = database.connect(url)
    workers = Workers(engine)
    presence = Presence(workers, lambda: networks)
    with presence.busy("job_1"):
        presence.beat()
    [busy] = workers.all()
    presence.beat()
    [idle] = workers.all()
    assert (busy.job_id, idle.job_id, busy.id) == ("job_1", None, idle.id)
    assert (idle.device, idle.bundle, alive(idle)) == ("cpu", "mini", True)
    assert idle.memory_bytes > 2**20
    engine.dispose()


def test_of_an_accelerator_it_tells_how_full_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database.upgrade(url := f"sqlite:///{tmp_path / 'jobs.db'}")
    engine = database.connect(url)
    for name, value in {"get_device_name": "a GPU", "mem_get_info": (30, 80), "max_memory_reserved": 40}.items():
        monkeypatch.setattr(torch.cuda, name, lambda _device, value=value: value)
    Presence(Workers(engine), lambda: SimpleNamespace(device=torch.device("cuda"), bundle="mini")).beat()  # type: ignore[arg-type,return-value]
    told = [REGISTRY.get_sample_value(f"sider_device_memory_{n}", {"device": "a GPU"}) for n in ("used_bytes", "bytes")]
    assert told == [50, 80]
    engine.dispose()


def test_without_networks_it_has_nothing_to_say_but_jobs_go_on(tmp_path: Path) -> None:
    engine = database.connect(f"sqlite:///{tmp_path / 'jobs.db'}")

    def missing() -> Networks:
        raise ConfigurationError("no such bundle")

    presence = Presence(Workers(engine), missing)
    with presence.busy("job_1"), pytest.raises(ConfigurationError):
        presence.beat()
    engine.dispose()
