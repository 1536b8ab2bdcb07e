"""A keyring under AWS KMS; KMS itself is moto's."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from core.errors import ConfigurationError, Unavailable
from core.vault.envelope import Binding, open_sealed, seal
from core.vault.keyring import Keyring
from core.vault.kms import KmsKey

BINDING = Binding("bank", "pho_1", "restoration")


@pytest.fixture
def kms(monkeypatch: pytest.MonkeyPatch) -> Iterator[KmsKey]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with mock_aws():
        yield new_key()


def new_key() -> KmsKey:
    return KmsKey(boto3.client("kms").create_key()["KeyMetadata"]["Arn"])


def test_the_file_alone_opens_nothing(kms: KmsKey, tmp_path: Path) -> None:
    path = tmp_path / "k.json"
    ring = Keyring.open_or_create(path, kms)
    sealed = seal(b"face", BINDING, ring)
    for key in ring.keys.values():
        assert base64.b64encode(key).decode() not in path.read_text()
    again = Keyring.open_or_create(path)  # the file says by itself which key it needs
    assert (again.kms, again.keys) == (kms, ring.keys)
    assert open_sealed(sealed, BINDING, again) == b"face"


def test_rotated_and_retired_under_kms(kms: KmsKey, tmp_path: Path) -> None:
    ring = Keyring.open_or_create(tmp_path / "k.json", kms)
    sealed = seal(b"face", BINDING, ring)
    signature = ring.signing_key().sign(b"head")
    rotated = ring.rotate()
    assert (rotated.kms, rotated.current) == (kms, 2)
    assert open_sealed(sealed, BINDING, ring.latest()) == b"face"
    rotated.retire(1)
    assert list(ring.latest().keys) == [2]
    ring.latest().verify_key(1).verify(signature, b"head")


def test_an_open_file_moves_to_kms_and_on_to_another_key(kms: KmsKey, tmp_path: Path) -> None:
    ring = Keyring.open_or_create(tmp_path / "k.json")
    ring.rotate(kms)
    moved = ring.latest()
    assert (moved.kms, moved.keys[1]) == (kms, ring.keys[1])
    assert base64.b64encode(ring.keys[1]).decode() not in ring.path.read_text()
    other = new_key()
    assert moved.rotate(other).keys[1] == ring.keys[1]
    assert ring.latest().kms == other


def test_a_version_cannot_be_passed_off_as_another(kms: KmsKey, tmp_path: Path) -> None:
    path = tmp_path / "k.json"
    Keyring.open_or_create(path, kms).rotate()
    content = json.loads(path.read_text())
    content["keys"]["1"], content["keys"]["2"] = content["keys"]["2"], content["keys"]["1"]
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigurationError, match="InvalidCiphertextException"):
        Keyring.open(path)


def test_a_key_that_is_gone_closes_the_ring_for_new_processes_only(kms: KmsKey, tmp_path: Path) -> None:
    ring = Keyring.open_or_create(tmp_path / "k.json", kms)
    text = ring.path.read_text()
    ring.path.write_text(text.replace(kms.key_id, "00000000-0000-0000-0000-000000000000"))
    with pytest.raises(ConfigurationError, match="NotFoundException"):
        Keyring.open(ring.path)
    assert ring.latest() == ring


def test_kms_away(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:9")
    with pytest.raises(Unavailable) as caught:
        KmsKey("alias/sider").unwrap(b"x", 1)
    assert caught.value.code == "kms_unavailable"
