"""Seal and open: one file, one format, authenticated as a whole.

    magic "SDRV" | version 1 or 2
    fixed    = purpose flags: has password (1) | salt (16) | time, memory KiB, lanes (3 x u32)
               commitment (32) | nonce (12)
    wrapping = version 1: key version u32 | nonce (12) | length u8 | wrapped data key (48, or 76 under a password)
               version 2: nonce (12) | data key wrapped by the password's key alone (48)
    ciphertext (AES-256-GCM, tag at the end)

A fresh data key seals each item, so a nonce never meets the same key twice. The data key is wrapped by the
password's key when there is one, and that by the keyring's key: opening takes both, rewrapping only the
keyring. In version 2 no keyring takes part: the password alone opens the item (custody caller).

Ciphertext is bound to magic, version, `fixed` and the binding (tenant, subject, purpose); the wrapping is bound
to the same, so that it cannot be moved to another item, but the ciphertext is not bound to the wrapping, so
that a rewrap leaves it alone.

AES-GCM does not commit to its key: one ciphertext can be made to open under two. The commitment, a hash of
the data key, closes this, and is compared before anything is decrypted.

Every failure is RestoreDenied: an oracle that tells a wrong password from an altered file helps only attackers.
"""

from __future__ import annotations

import secrets
import struct
from dataclasses import dataclass
from hmac import compare_digest

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from core.errors import RestoreDenied
from core.vault.keyring import Keyring
from core.vault.passwords import KdfCost, Lock

MAGIC = b"SDRV\x01"
MAGIC_CALLER = b"SDRV\x02"
NONCE, TAG, KEY = 12, 16, 32
LOCKED = NONCE + KEY + TAG  # a data key under a password
FIXED = struct.Struct(">B16sIII32s12s")
OUTER = struct.Struct(">I12sB")  # key version, nonce, length of the wrapped data key
NO_SALT = bytes(16)


@dataclass(frozen=True, slots=True)
class Binding:
    """What a sealed item is for; it opens for nothing else. subject: a photo's or a job's id."""

    tenant: str
    subject: str
    purpose: str

    def encoded(self) -> bytes:
        """Unambiguous: each part is preceded by its length."""
        parts = [part.encode() for part in (self.tenant, self.subject, self.purpose)]
        return b"".join(struct.pack(">H", len(part)) + part for part in parts)


@dataclass(frozen=True, slots=True)
class _Parts:
    """A sealed item taken apart; nothing in it is trusted yet. key_version: None in version 2 of the format."""

    magic: bytes
    locked: bool
    salt: bytes
    cost: KdfCost
    commitment: bytes
    nonce: bytes
    fixed: bytes
    key_version: int | None
    outer_nonce: bytes
    wrapped: bytes
    ciphertext: bytes


def seal(plaintext: bytes, binding: Binding, keyring: Keyring | None, lock: Lock | None = None) -> bytes:
    """Seal bytes for a binding: whatever is given, keyring or lock or both, is needed to open them."""
    if keyring is None and lock is None:
        raise ValueError("sealed by nothing")
    magic = MAGIC if keyring else MAGIC_CALLER
    data_key, nonce = secrets.token_bytes(KEY), secrets.token_bytes(NONCE)
    cost = lock.cost if lock else KdfCost(0, 0, 0)
    salt = lock.salt if lock else NO_SALT
    fixed = FIXED.pack(lock is not None, salt, cost.time, cost.memory_kib, cost.lanes, _commitment(data_key), nonce)
    bound = magic + fixed + binding.encoded()
    inner = data_key
    if lock:
        inner_nonce = secrets.token_bytes(NONCE)
        inner = inner_nonce + AESGCM(lock.key).encrypt(inner_nonce, data_key, b"password" + bound)
    wrapping = _wrap(inner, keyring, bound) if keyring else inner
    return magic + fixed + wrapping + AESGCM(data_key).encrypt(nonce, plaintext, b"content" + bound)


def open_sealed(sealed: bytes, binding: Binding, keyring: Keyring | None, password_key: bytes | None = None) -> bytes:
    """The plaintext. What an item does not need is not looked at.

    Raises:
        RestoreDenied: wrong password, wrong keyring, another binding, or any altered or missing byte.
    """
    try:
        parts = _take_apart(sealed)
        bound = parts.magic + parts.fixed + binding.encoded()
        data_key = _unwrap(parts, keyring, bound)
        if parts.locked:
            if password_key is None:
                raise RestoreDenied
            cipher = AESGCM(password_key)
            data_key = cipher.decrypt(data_key[:NONCE], data_key[NONCE:], b"password" + bound)
        if not compare_digest(_commitment(data_key), parts.commitment):
            raise RestoreDenied
        return AESGCM(data_key).decrypt(parts.nonce, parts.ciphertext, b"content" + bound)
    except (InvalidTag, ValueError, struct.error):
        # `from None`: the cause would tell which of the locks it was.
        raise RestoreDenied from None


def kdf_of(sealed: bytes) -> tuple[bytes, KdfCost] | None:
    """Salt and cost that the password's key is derived with; None when no password is needed.

    Raises:
        RestoreDenied: malformed, or a cost outside its caps.
    """
    try:
        parts = _take_apart(sealed)
    except (ValueError, struct.error):
        raise RestoreDenied from None
    if not parts.locked:
        return None
    parts.cost.check()
    return parts.salt, parts.cost


def key_version(sealed: bytes) -> int | None:
    """The version of the keyring that an item is wrapped by; None if it needs none (RestoreDenied: malformed)."""
    try:
        return _take_apart(sealed).key_version
    except (ValueError, struct.error):
        raise RestoreDenied from None


def rewrap(sealed: bytes, binding: Binding, keyring: Keyring) -> bytes:
    """The same item under the keyring's current key; needs no password and shows no plaintext. An item that
    needs no keyring stays as it is.

    Raises:
        RestoreDenied: the item cannot be unwrapped by this keyring for this binding.
    """
    try:
        parts = _take_apart(sealed)
        if parts.key_version is None:
            return sealed
        bound = MAGIC + parts.fixed + binding.encoded()
        return MAGIC + parts.fixed + _wrap(_unwrap(parts, keyring, bound), keyring, bound) + parts.ciphertext
    except (InvalidTag, ValueError, struct.error):
        raise RestoreDenied from None


def _take_apart(sealed: bytes) -> _Parts:
    magic, at = sealed[: len(MAGIC)], len(MAGIC)
    if magic not in (MAGIC, MAGIC_CALLER):
        raise ValueError("no sealed item")
    locked, salt, time, memory, lanes, commitment, nonce = FIXED.unpack_from(sealed, at)
    fixed = sealed[at : at + FIXED.size]
    at += FIXED.size
    version, outer_nonce, length = None, b"", LOCKED
    if magic == MAGIC:
        version, outer_nonce, length = OUTER.unpack_from(sealed, at)
        at += OUTER.size
    wrapped, ciphertext = sealed[at : at + length], sealed[at + length :]
    expected = LOCKED if version is None else TAG + (LOCKED if locked == 1 else KEY)
    if (
        locked not in ((1,) if version is None else (0, 1))
        or length != expected
        or len(wrapped) != length
        or len(ciphertext) < TAG
    ):
        raise ValueError("malformed sealed item")
    return _Parts(
        magic, locked == 1, salt, KdfCost(time, memory, lanes), commitment, nonce, fixed,
        version, outer_nonce, wrapped, ciphertext,
    )  # fmt: skip


def _wrap(inner: bytes, keyring: Keyring, bound: bytes) -> bytes:
    version, nonce = keyring.current, secrets.token_bytes(NONCE)
    wrapped = AESGCM(keyring.keys[version]).encrypt(nonce, inner, struct.pack(">I", version) + bound)
    return OUTER.pack(version, nonce, len(wrapped)) + wrapped


def _unwrap(parts: _Parts, keyring: Keyring | None, bound: bytes) -> bytes:
    if parts.key_version is None:
        return parts.wrapped
    key = keyring.keys.get(parts.key_version) if keyring else None
    if key is None:
        raise RestoreDenied
    return AESGCM(key).decrypt(parts.outer_nonce, parts.wrapped, struct.pack(">I", parts.key_version) + bound)


def _commitment(data_key: bytes) -> bytes:
    return HKDF(SHA256(), KEY, salt=None, info=b"sider envelope v1 key commitment").derive(data_key)
