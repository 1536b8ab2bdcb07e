"""What is made here says so, and is known again."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from api.schemas import JobForm, ProtectForm
from core.stages.validate import Photo
from core.vault.keyring import Keyring
from core.vault.provenance import SOURCE_TYPE
from sider.verify import verify
from tests.api.conftest import PHOTO, Service


def output(service: Service, headers: dict[str, str], photo_id: str, variant: int = 1) -> bytes:
    link = service.client.get(f"/photos/{photo_id}", headers=headers).json()["variants"][variant - 1]["link"]
    return service.photos.behind(link)


def asked(service: Service, headers: dict[str, str], data: bytes) -> Any:
    answer = service.client.post("/photos/verify", headers=headers, files={"photo": ("a.png", data)})
    assert answer.status_code == 200, answer.text
    return [(found["photo_id"], found["name"]) for found in answer.json()["outputs"]]


def without_metadata(png: bytes) -> bytes:
    with Image.open(io.BytesIO(png)) as image:
        buffer = io.BytesIO()
        Image.frombytes("RGB", image.size, image.tobytes()).save(buffer, "WEBP", lossless=True)
    return buffer.getvalue()


def test_every_output_carries_the_mark_and_originals_do_not(service: Service) -> None:
    headers, photo_id = service.protected()
    with Image.open(io.BytesIO(output(service, headers, photo_id))) as image:
        mark = image.text["XML:com.adobe.xmp"]
        assert image.getxmp()["xmpmeta"]["RDF"]["Description"]["DigitalSourceType"] == SOURCE_TYPE
    assert "sider" in mark
    assert photo_id not in mark
    original = service.restored(headers, photo_id)["result"]["link"]
    assert b"xmp" not in service.photos.behind(original)


def test_outputs_are_known_again_by_their_pixels(service: Service) -> None:
    headers, photo_id = service.protected(variants=2)
    second = output(service, headers, photo_id, 2)
    assert asked(service, headers, second) == [(photo_id, "v2")]
    assert asked(service, headers, without_metadata(second)) == [(photo_id, "v2")]
    assert asked(service, headers, PHOTO.to_png()) == []
    changed = Photo(255 - PHOTO.pixels)
    assert asked(service, headers, changed.to_png()) == []


def test_other_tenants_learn_nothing_and_an_erased_photo_is_forgotten(service: Service) -> None:
    headers, photo_id = service.protected()
    png = output(service, headers, photo_id)
    assert asked(service, service.key("protect", tenant="rival"), png) == []
    service.client.delete(f"/photos/{photo_id}", headers=headers)
    assert asked(service, headers, png) == []


def test_the_audit_log_has_the_fingerprint(service: Service) -> None:
    headers, photo_id = service.protected()
    with Image.open(io.BytesIO(output(service, headers, photo_id))) as image:
        made = Photo(np.array(image))
    entry = service.parts.audit.latest(9, subject=photo_id)[-1]
    assert entry.details["fingerprints"] == service.parts.shelf.fingerprint(made.sha256)
    assert made.sha256 not in str(entry.details)  # without the key nobody can tell which picture it is


def test_they_are_known_after_the_key_was_retired(service: Service) -> None:
    headers, photo_id = service.protected()
    png = output(service, headers, photo_id)
    path = service.parts.shelf.keyring.path
    Keyring.open(path).rotate()
    Keyring.open(path).retire(1)
    assert asked(service, headers, png) == [(photo_id, "v1")]
    Keyring.open(path).rotate().retire(2)
    assert asked(service, headers, png) == [(photo_id, "v1")]


@pytest.mark.parametrize(("data", "status", "code"), [(b"<html>", 415, "photo_format"), (b"", 422, "photo_empty")])
def test_what_is_no_photo_is_refused(service: Service, data: bytes, status: int, code: str) -> None:
    answer = service.client.post("/photos/verify", headers=service.key("protect"), files={"photo": ("a", data)})
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_the_operator_may_look_for_a_picture_of_any_tenant(service: Service) -> None:
    headers, photo_id = service.protected()
    path, told = service.folder / "a.png", Console(record=True, width=200)
    path.write_bytes(output(service, headers, photo_id))
    fewer = service.parts.settings.model_copy(update={"max_pixels": 100})  # it was let in once
    assert verify(fewer, path, told) == 0
    assert f"{photo_id} v1 of bank" in told.export_text()
    path.write_bytes(PHOTO.to_png())
    assert verify(service.parts.settings, path, told) == 1


def test_nobody_chooses_the_persona() -> None:
    """A look that a caller could choose would be somebody's: it comes from the bank, by the method alone."""
    asked_for = {"photo", "method", "preset", "variants", "seed", "faces", "presentation", "age", "password", "custody"}
    assert ProtectForm.model_fields.keys() == asked_for | JobForm.model_fields.keys()
