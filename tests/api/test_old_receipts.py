"""A request that is sent again after an upgrade finds what the release before has kept of it."""

from __future__ import annotations

import base64

import pytest
from fastapi import Request

from api.idempotency import Once, once
from api.schemas import Accepted, ProtectForm
from core.jobs.states import State
from tests.api.conftest import PASSWORD, Service

ANSWER = (
    "AAECAwQFBgcICQoLtJ1KQyEj3hiTvBzgd59/07LL3ir66xHLUpy0Y2iHVxHyH8xzjpyBV5bospPWTHTpSg/EB5O0P7/STHGXH3P2LGPXrQsGzyjE"
    "mJRt0u9Nan6YcZrZli6lQr/NVcZTaCmtALD2PxcQjroYHNyet8XIhdAkd6HL3q1wMbEh5bB2g7evWZ+odC+tHLxH8qzh4Glbpjg58DCMBKmHKAks"
    "X1Aspg0="
)


@pytest.fixture
def asked(service: Service) -> Once:
    request = Request({"type": "http", "method": "POST", "path": "/protect", "headers": [], "server": ("sider", 80)})
    return once(request, service.parts, f"sdr_{'0' * 12}_{'0' * 48}", "8e03978e-40d5-43dd-bc93-6894a57f9324")


def test_its_receipt_is_found(asked: Once) -> None:
    assert asked.receipt_id == "cff614b0b8689564d7712bb8b50eddc34c9ee3f7eb5ea8be70789edb14843869"


@pytest.mark.parametrize(
    ("photos", "fingerprint"),
    [
        ([b"photo"], "56315e82290183667af817935b72ac025e3028db0d3634854c63ffa48b78d762"),
        ([b"photo", b"another"], "78ea95d1a0de45a9579046b587b96bce423b6b8c1806676d22a9a555147ac336"),
    ],
    ids=["one", "batch"],
)
def test_its_payload_is_the_same(asked: Once, photos: list[bytes], fingerprint: str) -> None:
    form = ProtectForm.model_validate({"photo": [], "password": PASSWORD, "variants": 2})
    assert asked._fingerprint(form, photos) == fingerprint


def test_its_answer_can_be_read(asked: Once) -> None:
    ids = {"job_id": f"job_{'1' * 32}", "photo_id": f"pho_{'2' * 32}"}
    assert asked._open(base64.b64decode(ANSWER)) == Accepted(**ids, state=State.queued, restore_code="01234-56789")
