"""Seal and open: round trip, every way of corruption, vectors that freeze the format."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import RestoreDenied
from core.vault import envelope
from core.vault.envelope import Binding, kdf_of, key_version, open_sealed, rewrap, seal
from core.vault.keyring import Keyring
from core.vault.passwords import KdfCost, Lock, derive_key, lock

MADE = "2026-01-01T00:00:00+00:00"
RING = Keyring(Path("unused"), MappingProxyType({1: b"k" * 32}), {1: MADE})
BINDING = Binding("bank", "pho_1", "restoration")
CHEAP = KdfCost(1, 64, 1)
LOCK = lock("correct horse", CHEAP)
VECTORS = sorted((Path(__file__).parent / "vectors").glob("*.json"))


WAYS = [(RING, None), (RING, LOCK), (None, LOCK)]  # custody server, split, caller


@given(st.binary(max_size=300), st.sampled_from(WAYS))
def test_round_trip(plaintext: bytes, way: tuple[Keyring | None, Lock | None]) -> None:
    sealed = seal(plaintext, BINDING, *way)
    assert open_sealed(sealed, BINDING, way[0], way[1].key if way[1] else None) == plaintext


def test_sealed_by_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="by nothing"):
        seal(b"face", BINDING, None, None)


def test_nothing_on_the_server_opens_what_the_caller_keeps() -> None:
    sealed = seal(b"face", BINDING, None, LOCK)
    assert key_version(sealed) is None
    assert kdf_of(sealed) == (LOCK.salt, CHEAP)
    assert rewrap(sealed, BINDING, RING) == sealed
    for key in (None, b"w" * 32, RING.keys[1]):
        with pytest.raises(RestoreDenied):
            open_sealed(sealed, BINDING, RING, key)


def test_password_and_keyring_are_both_needed() -> None:
    sealed = seal(b"face", BINDING, RING, LOCK)
    other_ring = Keyring(Path("unused"), {1: b"x" * 32}, {1: ""})
    for ring, key in ((RING, None), (RING, b"w" * 32), (other_ring, LOCK.key)):
        with pytest.raises(RestoreDenied):
            open_sealed(sealed, BINDING, ring, key)


@pytest.mark.parametrize(
    "binding",
    [
        Binding("other", "pho_1", "restoration"),
        Binding("bank", "pho_2", "restoration"),
        Binding("bank", "pho_1", "upload"),
        Binding("bankp", "ho_1", "restoration"),
    ],
)
def test_opens_for_nothing_else(binding: Binding) -> None:
    with pytest.raises(RestoreDenied):
        open_sealed(seal(b"face", BINDING, RING, LOCK), binding, RING, LOCK.key)


@pytest.mark.parametrize(("ring", "lock"), WAYS, ids=["server", "split", "caller"])
def test_every_byte_counts(ring: Keyring | None, lock: Lock | None) -> None:
    sealed = seal(b"face", BINDING, ring, lock)
    key = LOCK.key  # given for all: what an item does not need does no harm
    for position in range(len(sealed)):
        for change in (1, 0x80):
            altered = bytearray(sealed)
            altered[position] ^= change
            with pytest.raises(RestoreDenied):
                open_sealed(bytes(altered), BINDING, RING, key)
        with pytest.raises(RestoreDenied):
            open_sealed(sealed[:position], BINDING, RING, key)
    with pytest.raises(RestoreDenied):
        open_sealed(sealed + b"\0", BINDING, RING, key)


@pytest.mark.parametrize(("ring", "lock"), WAYS, ids=["server", "split", "caller"])
def test_a_key_that_was_not_committed_to_opens_nothing(
    monkeypatch: pytest.MonkeyPatch, ring: Keyring | None, lock: Lock | None
) -> None:
    """However well all else fits: to AES-GCM a second key may be as good."""
    with monkeypatch.context() as patch:
        patch.setattr(envelope, "_commitment", lambda _: b"another key's".ljust(32))
        sealed = seal(b"face", BINDING, ring, lock)
    with pytest.raises(RestoreDenied):
        open_sealed(sealed, BINDING, ring, LOCK.key)


@given(st.binary(max_size=400))
def test_noise_is_denied(noise: bytes) -> None:
    for data in (noise, b"SDRV\x01" + noise, b"SDRV\x02" + noise):
        with pytest.raises(RestoreDenied):
            open_sealed(data, BINDING, RING, LOCK.key)


def test_rewrap_needs_no_password_and_old_key_may_go() -> None:
    sealed = seal(b"face", BINDING, RING, LOCK)
    both = Keyring(Path("unused"), {**RING.keys, 2: b"n" * 32}, {1: MADE, 2: MADE})
    moved = rewrap(sealed, BINDING, both)
    assert open_sealed(sealed, BINDING, both, LOCK.key) == b"face"  # old items open as long as the old key is there
    only_new = Keyring(Path("unused"), {2: both.keys[2]}, both.created)
    assert open_sealed(moved, BINDING, only_new, LOCK.key) == b"face"
    with pytest.raises(RestoreDenied):
        open_sealed(sealed, BINDING, only_new, LOCK.key)
    with pytest.raises(RestoreDenied):
        rewrap(sealed, Binding("other", "pho_1", "restoration"), both)


def test_same_plaintext_never_seals_the_same() -> None:
    assert len({seal(b"face", BINDING, RING, LOCK) for _ in range(20)}) == 20


def test_header_tells_how_to_derive() -> None:
    assert kdf_of(seal(b"face", BINDING, RING, LOCK)) == (LOCK.salt, CHEAP)
    assert kdf_of(seal(b"face", BINDING, RING, None)) is None


def test_absurd_cost_is_denied_before_memory_is_taken() -> None:
    greedy = Lock(LOCK.key, LOCK.salt, KdfCost(3, 2**31, 4))
    with pytest.raises(RestoreDenied):
        kdf_of(seal(b"face", BINDING, RING, greedy))
    with pytest.raises(RestoreDenied):
        derive_key("correct horse", LOCK.salt, greedy.cost)


@pytest.mark.parametrize("path", VECTORS, ids=lambda p: p.stem)
def test_vector(path: Path) -> None:
    """The format is frozen: what was sealed once opens for ever, and what was refused stays refused."""
    case: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    ring = Keyring(Path("unused"), {int(v): base64.b64decode(k) for v, k in case["keyring"].items()}, {})
    sealed, binding = base64.b64decode(case["sealed"]), Binding(**case["binding"])

    def attempt() -> bytes:
        kdf = kdf_of(sealed)
        key = derive_key(case["password"], *kdf) if kdf else None
        return open_sealed(sealed, binding, ring, key)

    if case["expect"] == "denied":
        with pytest.raises(RestoreDenied):
            attempt()
    else:
        assert attempt() == base64.b64decode(case["expect"])


def test_vectors_are_there() -> None:
    assert len(VECTORS) == 33
