"""Passwords -> keys (Argon2id), and restore codes for callers who bring no password."""

from __future__ import annotations

import secrets
import unicodedata
from dataclasses import dataclass

from argon2.low_level import Type, hash_secret_raw

from core.errors import RequestRefused, RestoreDenied

KEY_BYTES = 32
SALT_BYTES = 16
MIN_LENGTH, MAX_BYTES = 8, 1024
# Crockford's alphabet: no I, L, O, U, so that a code can be read aloud and typed back.
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
CODE_GROUPS, GROUP = 6, 5  # 30 characters of 5 bits: 150 bits


@dataclass(frozen=True, slots=True)
class KdfCost:
    """Argon2id cost; the default is RFC 9106's second recommendation."""

    time: int = 3
    memory_kib: int = 64 * 1024
    lanes: int = 4

    def check(self) -> None:
        """Caps for costs that come from a file: a hostile header must not take the machine's memory.

        Raises:
            RestoreDenied: outside the caps.
        """
        fits = 1 <= self.time <= 10 and 1 <= self.lanes <= 16 and 8 * self.lanes <= self.memory_kib <= 256 * 1024
        if not fits:
            raise RestoreDenied


@dataclass(frozen=True, slots=True)
class Lock:
    """A password-derived key with the salt and cost it takes to derive it again. `repr` hides the key."""

    key: bytes
    salt: bytes
    cost: KdfCost

    def __repr__(self) -> str:
        return "Lock(key=hidden)"


def lock(password: str, cost: KdfCost | None = None) -> Lock:
    """A new lock under a fresh salt."""
    cost, salt = cost or KdfCost(), secrets.token_bytes(SALT_BYTES)
    return Lock(derive_key(password, salt, cost), salt, cost)


def derive_key(password: str, salt: bytes, cost: KdfCost) -> bytes:
    """32 bytes from a password (NFKC, UTF-8) and a salt.

    Raises:
        RestoreDenied: the cost is outside its caps, or the password longer than MAX_BYTES.
    """
    cost.check()
    secret = _secret(password)
    if not secret or len(secret) > MAX_BYTES:
        raise RestoreDenied
    return hash_secret_raw(
        secret, salt, time_cost=cost.time, memory_cost=cost.memory_kib, parallelism=cost.lanes,
        hash_len=KEY_BYTES, type=Type.ID,
    )  # fmt: skip


def _secret(password: str) -> bytes:
    """The same bytes for the same password, on whichever keyboard it is typed."""
    return unicodedata.normalize("NFKC", as_code(password) or password).encode()


def check_new(password: str) -> None:
    """Refuse passwords that are no protection. The message never repeats the password.

    Raises:
        RequestRefused: shorter than MIN_LENGTH characters or longer than MAX_BYTES bytes.
    """
    if len(password) < MIN_LENGTH or len(_secret(password)) > MAX_BYTES:
        raise RequestRefused(f"a password has {MIN_LENGTH} characters at least and {MAX_BYTES} bytes at most")


def as_code(text: str) -> str | None:
    """The restore code that was typed in small letters, without dashes or with spaces; None if it is none."""
    letters = "".join(text.upper().split()).replace("-", "").translate(str.maketrans("OIL", "011"))
    if len(letters) != CODE_GROUPS * GROUP or set(letters) - set(ALPHABET):
        return None
    return "-".join(letters[i : i + GROUP] for i in range(0, len(letters), GROUP))


def new_restore_code() -> str:
    """A random code of 150 bits in six groups, for callers who give no password."""
    groups = ("".join(secrets.choice(ALPHABET) for _ in range(GROUP)) for _ in range(CODE_GROUPS))
    return "-".join(groups)
