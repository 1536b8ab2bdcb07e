"""Signed heads of the audit log, written once to a store of their own, and the check of the log against them.

Whoever can write to the database could rewrite the log from some entry on, with new hashes; what he cannot do
is to make it end in the hashes that were signed and stored before.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog
from cryptography.exceptions import InvalidSignature

from core import metrics
from core.jobs.audit import GENESIS, Audit, Tip, entry_hash
from core.jobs.database import now
from core.vault.blobs import Blobs
from core.vault.keyring import Keyring

PREFIX = "heads/"
DOMAIN = b"sider audit head v1\n"  # a signature for this is one for nothing else

logger = structlog.get_logger(__name__)


@dataclass
class Heads:
    """Signs the end of the log every `seconds` at most, when there is something new; any number of processes may."""

    audit: Audit
    store: Blobs
    keyring: Keyring
    seconds: float
    _signed: int = 0
    _due: float = 0.0

    def anchor(self) -> None:
        """Sign and store the end of the log, if it is time (Unavailable)."""
        tip = self.audit.tip()
        if tip.seq != self._signed:
            if time.monotonic() < self._due:
                return
            name, ring = f"{PREFIX}{tip.seq:012d}.json", self.keyring.latest()
            # Another process may have been first. But where the log was set back, to a backup for instance, the head of
            # the entry that had this number before is there: then nothing vouches for ours.
            vouched = self.store.put_once(name, sign(tip, ring)) or read_head(self.store.get(name), ring) == tip
            self._due = time.monotonic() + self.seconds
            if not vouched:
                logger.error("audit_head_of_another_entry", seq=tip.seq)
                return
            self._signed = tip.seq
        metrics.AUDIT_SIGNED.set_to_current_time()


@dataclass
class Findings:
    """What a check of the log found. An honest log has no `faults`; `unsigned` entries are too new for a head."""

    entries: int = 0
    heads: int = 0
    unsigned: int = 0
    faults: list[str] = field(default_factory=list)


def sign(tip: Tip, keyring: Keyring) -> bytes:
    """A head: JSON, signed (Ed25519) with the keyring's current signing key."""
    head = {"seq": tip.seq, "hash": tip.hash, "at": now().isoformat(), "key_version": keyring.current}
    signature = keyring.signing_key().sign(_signed_bytes(head))
    return json.dumps(head | {"signature": base64.b64encode(signature).decode()}).encode()


def read_head(data: bytes, keyring: Keyring) -> Tip | None:
    """What a head says; None when its signature is not by a key of this ring."""
    try:
        head = json.loads(data)
        signature = base64.b64decode(head.pop("signature"), validate=True)
        keyring.verify_key(head["key_version"]).verify(signature, _signed_bytes(head))
        return Tip(head["seq"], head["hash"])
    except (ValueError, KeyError, TypeError, AttributeError, InvalidSignature):
        return None


def verify(audit: Audit, store: Blobs, keyring: Keyring, progress: Callable[[int, int], None]) -> Findings:
    """Check every entry and every head ever stored. `progress` gets the entries done and their number.

    Raises:
        Unavailable: the store does not answer.
    """
    found, signed = Findings(), dict[int, str]()
    # Heads before the end, and the end before the entries: what is appended meanwhile is no fault.
    for name, data in store.history(PREFIX):
        head = read_head(data, keyring)
        if head is None:
            found.faults.append(f"{name} is not a head that this keyring has signed")
        elif signed.setdefault(head.seq, head.hash) != head.hash:
            found.faults.append(f"two heads were signed for entry {head.seq}")
    found.heads, tip = len(signed), audit.tip()
    previous, seq = GENESIS, 0
    for row in audit.walk(tip.seq):
        if row.seq != seq + 1:
            found.faults.append(_missing(seq + 1, row.seq - 1))
        elif entry_hash(previous, row) != row.hash:
            found.faults.append(f"entry {row.seq} was altered, or another one stood before it")
        if signed.get(row.seq, row.hash) != row.hash:
            found.faults.append(f"entry {row.seq} is not the one that was signed")
        previous, seq, found.entries = row.hash, row.seq, found.entries + 1
        progress(seq, tip.seq)
    end = max([tip.seq, *signed])
    if seq < end:
        found.faults.append(_missing(seq + 1, end))
    elif previous != tip.hash:
        found.faults.append(f"the log does not end with entry {tip.seq} as it was written")
    found.unsigned = max(0, seq - max(signed, default=0))
    return found


def _missing(first: int, last: int) -> str:
    return f"entry {first} is missing" if first == last else f"entries {first} to {last} are missing"


def _signed_bytes(head: dict[str, Any]) -> bytes:
    return DOMAIN + json.dumps(head, sort_keys=True, separators=(",", ":")).encode()
