"""What one caller, or one part that is silent, may take of what is there for all."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy.exc import OperationalError

from api.sharing import Watchers
from core.errors import Unavailable
from tests.api.conftest import Service
from tests.api.test_batches import send
from tests.api.test_events import each_second, listen

__all__ = ["each_second"]


def test_a_tenant_that_watches_much_leaves_places_to_others(
    service: Service, each_second: list[Callable[[], object]]
) -> None:
    service.change(tenant_share=0.5)
    service.replace(watchers=Watchers(2))
    bank, rival = service.key("protect"), service.key("protect", tenant="rival")
    location, theirs = (service.upload(headers).headers["location"] for headers in (bank, rival))
    statuses: list[int] = []
    codes: list[str] = []

    def meanwhile() -> None:
        refused = service.client.get(f"{location}/events", headers=bank)
        statuses.append(refused.status_code)
        codes.append(refused.json()["code"])
        each_second.append(service.work)
        assert listen(service, theirs, rival)[-1]["event"] == "end"

    each_second.append(meanwhile)
    assert listen(service, location, bank)[-1]["event"] == "end"
    assert (statuses, codes) == ([503], ["watchers_full"])
    assert listen(service, location, bank)[-1]["event"] == "end"  # the place is free again


@pytest.mark.parametrize("away", ["queue", "database"])
def test_a_batch_waits_once_for_a_part_that_is_silent(
    service: Service, monkeypatch: pytest.MonkeyPatch, away: str
) -> None:
    asked: list[str] = []

    def silent(job_id: str) -> None:
        asked.append(job_id)
        raise Unavailable("silent", code="broker_unavailable")

    def locked(_: object, job_id: str, __: object) -> None:
        asked.append(job_id)
        raise OperationalError("UPDATE", {}, Exception("locked"))

    if away == "queue":
        monkeypatch.setattr(service.broker, "publish", silent)
    else:
        monkeypatch.setattr("core.jobs.repository.Jobs.publish", locked)
    answer = send(service, service.key("protect"))
    assert (answer.status_code, len(answer.json()["jobs"])) == (202, 3)
    assert len(asked) == 1
    assert len(service.parts.jobs.unpublished(older_than_seconds=0)) == 3  # for the reaper
