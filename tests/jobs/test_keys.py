from __future__ import annotations

import zlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from core.errors import AccessDenied, RequestRefused
from core.jobs import database
from core.jobs.keys import ApiKeys


@pytest.fixture
def keys(tmp_path: Path) -> Any:
    url = f"sqlite:///{tmp_path / 'keys.db'}"
    database.upgrade(url)
    engine = database.connect(url)
    yield ApiKeys(engine)
    engine.dispose()


def test_issued_key_opens_and_is_stored_only_as_a_hash(keys: ApiKeys, tmp_path: Path) -> None:
    row, text = keys.issue("bank", ("protect", "restore"), "app")
    assert keys.verify(text).tenant == "bank"
    secret = text.split("_")[2]
    stored = b"".join(p.read_bytes() for p in tmp_path.iterdir())
    assert row.secret_sha256.encode() in stored
    assert secret.encode() not in stored
    assert secret[:40].encode() not in stored


def forged(identifier: str) -> str:
    """A text with a right checksum, which anybody can make who has seen an id."""
    guess = f"{identifier}_{'0' * 40}"
    return f"sdr_{guess}{zlib.crc32(guess.encode()):08x}"


def test_bad_keys_get_one_answer(keys: ApiKeys) -> None:
    row, text = keys.issue("bank", ("protect",))
    _, expired = keys.issue("bank", ("protect",), expires_at=database.now() - timedelta(seconds=1))
    flipped = text[:-1] + ("0" if text[-1] != "0" else "1")
    answers = set()
    unknown = text.replace(row.id, "0" * 12)
    for bad in ("", "sdr_", text[:-1], flipped, expired, unknown, forged("0" * 12), forged(row.id), "x" * 5000):
        with pytest.raises(AccessDenied) as caught:
            keys.verify(bad)
        answers.add((caught.value.code, str(caught.value)))
    keys.revoke(row.id)
    with pytest.raises(AccessDenied):
        keys.verify(text)
    assert len(answers) == 1


@pytest.mark.parametrize(
    ("tenant", "scopes"),
    [
        ("bank", ()),
        ("bank", ("root",)),
        ("../x", ("protect",)),
        ("", ("ops",)),
        *((tenant, ("protect",)) for tenant in ("bank/x", "bank\n", "Bank", "-bank", "b" * 64)),
    ],
)
def test_nonsense_is_refused(keys: ApiKeys, tenant: str, scopes: tuple[str, ...]) -> None:
    with pytest.raises(RequestRefused):
        keys.issue(tenant, scopes)


def test_a_name_may_be_as_long_as_its_column(keys: ApiKeys) -> None:
    keys.issue("bank", ("ops",), "n" * 80)
    with pytest.raises(RequestRefused, match="80"):
        keys.issue("bank", ("ops",), "n" * 81)
