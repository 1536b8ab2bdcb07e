"""The queue's limit holds for requests that were let in when there was room."""

from __future__ import annotations

from typing import Any

import pytest

from api.decoding import Decoders
from tests.api.conftest import PASSWORD, Service
from tests.api.test_batches import send
from tests.fakes import picture
from tests.jobs.rows import add


@pytest.fixture
def crowded(service: Service, monkeypatch: pytest.MonkeyPatch) -> Service:
    """Somebody else's job comes in while a photo is decoded."""
    run = Decoders.run

    async def meanwhile(self: Decoders, *asked: Any) -> list[Any]:
        found = await run(self, *asked)
        add(service.parts.jobs, tenant="rival")
        return found

    monkeypatch.setattr(Decoders, "run", meanwhile)
    return service


@pytest.mark.parametrize("places", [1, 2])
def test_a_photo_waits_outside_if_another_was_faster(crowded: Service, places: int) -> None:
    crowded.change(max_queue=places)
    answer = crowded.upload(crowded.key("protect"))
    assert answer.status_code == (202 if places == 2 else 503), answer.json()
    assert crowded.parts.jobs.depth() == places


@pytest.mark.parametrize("places", [2, 3])
def test_and_so_does_a_restore(crowded: Service, places: int) -> None:
    headers, photo_id = crowded.protected()  # one of another tenant waits since then
    crowded.change(max_queue=places)
    answer = crowded.client.post(
        "/restore", headers=headers, files={"photo": ("p.png", picture().to_png())},
        data={"photo_id": photo_id, "password": PASSWORD, "reason": "asked"},
    )  # fmt: skip
    assert answer.status_code == (202 if places == 3 else 503), answer.json()
    assert crowded.parts.jobs.depth() == places


@pytest.mark.parametrize("places", [3, 4])
def test_and_so_does_a_batch_that_has_not_room_for_all(crowded: Service, places: int) -> None:
    crowded.change(max_queue=places)
    answer = send(crowded, crowded.key("protect"))
    assert answer.status_code == (202 if places == 4 else 503), answer.json()
    assert crowded.parts.jobs.depth() == (4 if places == 4 else 1)
