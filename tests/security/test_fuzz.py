"""Sealed items and restoration records, mutated at length: denied or whole, and no other error."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from core.errors import RestoreDenied
from core.vault.envelope import Binding, kdf_of, key_version, open_sealed, rewrap, seal
from core.vault.keyring import Keyring
from core.vault.passwords import KdfCost, lock
from core.vault.restoration import Restoration, png_bytes
from tests.fakes import picture
from tests.security.report import Report

pytestmark = pytest.mark.security
CASES = 5_000
THOROUGH = settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))
RING = Keyring(Path("unused"), {1: b"k" * 32}, {1: "2026-01-01T00:00:00+00:00"})
BINDING, LOCK = Binding("bank", "pho_1", "restoration"), lock("correct horse", KdfCost(1, 64, 1))
SEALED = [seal(b"face", BINDING, ring, key) for ring, key in ((RING, None), (RING, LOCK), (None, LOCK))]
PHOTO = picture().pixels
RECORD = Restoration.of(PHOTO, [PHOTO], [(8, 8, 40, 30), (60, 8, 16, 16)]).pack()

edits = st.lists(st.tuples(st.integers(0, 600), st.integers(0, 8), st.binary(max_size=12)), max_size=4)
numbers = st.one_of(st.integers(), st.floats(), st.sampled_from([2**31, 2**63, -1, 0]))
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)
headers = st.one_of(
    json_values,
    st.fixed_dictionaries(
        {
            "boxes": st.lists(st.lists(st.one_of(numbers, json_values), min_size=2, max_size=4), max_size=3),
            "original_sha256": st.one_of(st.text(max_size=64), json_values),
            "protected_sha256": st.one_of(st.lists(st.text(max_size=64), max_size=3), json_values),
        }
    ),
)


@pytest.fixture(scope="module", autouse=True)
def reported(request: pytest.FixtureRequest, report: Report) -> Iterator[None]:
    """A line in the report, if all of them were as they should be."""
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed == failed:
        report.add("fuzzed items, records and headers", 3 * CASES)


def edited(data: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    """Replace so many bytes at a place by others, again and again."""
    for at, length, new in changes:
        start = at % (len(data) + 1)
        data = data[:start] + new + data[start + length :]
    return data


@THOROUGH
@given(st.sampled_from(SEALED), edits)
def test_a_mutated_item_is_denied_or_whole(sealed: bytes, changes: list[tuple[int, int, bytes]]) -> None:
    data = edited(sealed, changes)
    for read in (kdf_of, key_version, lambda d: rewrap(d, BINDING, RING)):
        with suppress(RestoreDenied):
            read(data)
    try:
        assert open_sealed(data, BINDING, RING, LOCK.key) == b"face"
    except RestoreDenied:
        return
    assert data == sealed


@THOROUGH
@given(edits)
def test_a_mutated_record_gives_the_original_or_nothing(changes: list[tuple[int, int, bytes]]) -> None:
    with suppress(RestoreDenied):
        assert (restored(edited(RECORD, changes)) == PHOTO).all()


@THOROUGH
@given(headers, st.binary(max_size=20))
def test_any_header_is_denied(header: object, rest: bytes) -> None:
    text = json.dumps(header).encode()
    for body in (rest, png_bytes(PHOTO[:16, :16])):
        with pytest.raises(RestoreDenied):
            restored(struct.pack(">I", len(text)) + text + body)


@pytest.mark.parametrize("text", [b"[" * 60_000, b'{"boxes":' * 6_000, b"9" * 60_000, b'{"boxes": [[Infinity, 0, 1]]}'])
def test_a_header_that_tires_the_parser_is_denied(text: bytes) -> None:
    with pytest.raises(RestoreDenied):
        restored(struct.pack(">I", len(text)) + text)


def restored(packed: bytes) -> NDArray[np.uint8]:
    return Restoration.unpack(packed).apply(PHOTO)
