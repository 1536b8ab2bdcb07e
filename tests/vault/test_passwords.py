from __future__ import annotations

import re

import pytest

from core.errors import RequestRefused, RestoreDenied
from core.vault.passwords import KdfCost, as_code, check_new, derive_key, lock, new_restore_code

CHEAP = KdfCost(1, 64, 1)


def test_key_depends_on_password_salt_and_cost() -> None:
    made = lock("correct horse", CHEAP)
    assert derive_key("correct horse", made.salt, CHEAP) == made.key
    others = {
        derive_key("correct horsf", made.salt, CHEAP),
        derive_key("correct horse", b"\0" * 16, CHEAP),
        derive_key("correct horse", made.salt, KdfCost(2, 64, 1)),
    }
    assert made.key not in others
    assert len(others) == 3


def test_known_answer() -> None:
    """From the test suite of the reference implementation (phc-winner-argon2, Argon2id v1.3)."""
    key = derive_key("password", b"somesalt", KdfCost(2, 65536, 1))
    assert key.hex() == "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7"


def test_the_lock_does_not_show_its_key() -> None:
    made = lock("correct horse", CHEAP)
    assert made.key.hex() not in repr(made)
    assert repr(made.key) not in repr(made)


def test_restore_codes_are_long_and_different() -> None:
    codes = {new_restore_code() for _ in range(100)}
    assert len(codes) == 100
    assert all(re.fullmatch(r"([0-9A-HJKMNP-TV-Z]{5}-){5}[0-9A-HJKMNP-TV-Z]{5}", c) for c in codes)


def test_a_new_lock_costs_what_the_rfc_recommends() -> None:
    """RFC 9106, second recommended option; less would be noticed by nobody but those who guess."""
    assert lock("correct horse").cost == KdfCost(time=3, memory_kib=65536, lanes=4)


@pytest.mark.parametrize(
    "cost", [(0, 64, 1), (11, 64, 1), (1, 7, 1), (1, 256 * 1024 + 1, 1), (1, 64, 0), (1, 256 * 1024, 17)]
)
def test_costs_beyond_the_caps_are_denied(cost: tuple[int, int, int]) -> None:
    KdfCost(10, 256 * 1024, 16).check()
    with pytest.raises(RestoreDenied):
        KdfCost(*cost).check()


@pytest.mark.parametrize("password", ["", "short", "seven77", "x" * 1025])
def test_weak_passwords_are_refused_without_being_repeated(password: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        check_new(password)
    assert not password or password not in str(caught.value)


@pytest.mark.parametrize("password", ["eight888", "x" * 1024])
def test_passwords_of_eight_characters_or_more_are_taken(password: str) -> None:
    check_new(password)


def test_a_password_that_is_taken_locks() -> None:
    """Some characters are many once they are written as all keyboards would."""
    with pytest.raises(RequestRefused):
        check_new("\N{ARABIC LIGATURE SALLALLAHOU ALAYHE WASALLAM}" * 300)


def test_a_restore_code_may_be_typed_carelessly() -> None:
    code = new_restore_code()
    salt, cost = bytes(16), KdfCost(1, 64, 1)
    key = derive_key(code, salt, cost)
    typed = code.lower().replace("-", " ").replace("0", "o").replace("1", "l")
    assert derive_key(typed, salt, cost) == key
    assert derive_key(code.replace("-", ""), salt, cost) == key
    wrong = code[:-1] + ("A" if code[-1] != "A" else "B")
    assert derive_key(wrong, salt, cost) != key
    assert as_code("correct horse battery staple!!") is None
