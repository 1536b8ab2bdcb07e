"""Writes the test vectors, one scenario a file: `python -m tests.vault.make_vectors`. Files that are there
stay as they are: the format is frozen."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from core.vault.envelope import FIXED, LOCKED, MAGIC, MAGIC_CALLER, OUTER, Binding, seal
from core.vault.keyring import Keyring
from core.vault.passwords import KdfCost, lock

FOLDER = Path(__file__).parent / "vectors"
PASSWORD = "Pässword 🙂 4711"
BINDING = Binding("bank", "pho_00", "restoration")
MADE = "2026-01-01T00:00:00+00:00"
RING = Keyring(Path("unused"), {1: bytes(range(32)), 2: bytes(range(32, 64))}, {1: MADE, 2: MADE})


def flipped(data: bytes, position: int) -> bytes:
    out = bytearray(data)
    out[position] ^= 1
    return bytes(out)


def cases() -> dict[str, dict[str, Any]]:
    locked = seal(b"original pixels", BINDING, RING, lock(PASSWORD, KdfCost(1, 64, 1)))
    plain = seal(b"upload", BINDING, RING)
    caller = seal(b"original pixels", BINDING, None, lock(PASSWORD, KdfCost(1, 64, 1)))
    fixed, outer = len(MAGIC), len(MAGIC) + FIXED.size
    body = outer + OUTER.size + 76
    ok = {"sealed": locked, "expect": b"original pixels"}
    bad = {"expect": None}
    return {
        "opens_with_password": ok,
        "opens_with_composed_password": ok | {"password": "Pa\u0308ssword 🙂 4711"},
        "opens_without_password": {"sealed": plain, "expect": b"upload"},
        "opens_empty": {"sealed": seal(b"", BINDING, RING), "expect": b""},
        "wrong_password": bad | {"sealed": locked, "password": "Pässword 🙂 4712"},
        "wrong_tenant": bad | {"sealed": locked, "binding": Binding("tank", "pho_00", "restoration")},
        "wrong_subject": bad | {"sealed": locked, "binding": Binding("bank", "pho_01", "restoration")},
        "wrong_purpose": bad | {"sealed": locked, "binding": Binding("bank", "pho_00", "upload")},
        "unknown_key_version": bad | {"sealed": locked, "keyring": {1: RING.keys[1]}},
        "other_keyring": bad | {"sealed": locked, "keyring": {2: b"z" * 32}},
        "altered_magic": bad | {"sealed": flipped(locked, 0)},
        "altered_version": bad | {"sealed": flipped(locked, 4)},
        "altered_flag": bad | {"sealed": flipped(locked, fixed)},
        "altered_salt": bad | {"sealed": flipped(locked, fixed + 1)},
        "altered_cost": bad | {"sealed": flipped(locked, fixed + 20)},
        "altered_commitment": bad | {"sealed": flipped(locked, fixed + 29)},
        "altered_nonce": bad | {"sealed": flipped(locked, fixed + 61)},
        "altered_wrapping": bad | {"sealed": flipped(locked, outer + OUTER.size)},
        "altered_ciphertext": bad | {"sealed": flipped(locked, body)},
        "altered_tag": bad | {"sealed": flipped(locked, len(locked) - 1)},
        "cut_off": bad | {"sealed": locked[:-1]},
        "empty": bad | {"sealed": b""},
        "appended": bad | {"sealed": locked + b"\0"},
        "caller_opens_without_our_keyring": ok | {"sealed": caller, "keyring": {9: b"z" * 32}},
        "caller_wrong_password": bad | {"sealed": caller, "password": "Pässword 🙂 4712"},
        "caller_wrong_tenant": bad | {"sealed": caller, "binding": Binding("tank", "pho_00", "restoration")},
        "caller_altered_flag": bad | {"sealed": flipped(caller, fixed)},
        "caller_altered_commitment": bad | {"sealed": flipped(caller, fixed + 29)},
        "caller_altered_wrapping": bad | {"sealed": flipped(caller, outer + 20)},
        "caller_altered_ciphertext": bad | {"sealed": flipped(caller, outer + LOCKED)},
        "caller_called_version_1": bad | {"sealed": MAGIC + caller[fixed:]},
        "version_1_called_caller": bad | {"sealed": MAGIC_CALLER + locked[fixed:]},
        "version_3": bad | {"sealed": b"SDRV\x03" + caller[fixed:]},
    }


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, case in cases().items():
        binding = case.get("binding", BINDING)
        row = {
            "binding": {"tenant": binding.tenant, "subject": binding.subject, "purpose": binding.purpose},
            "password": case.get("password", PASSWORD),
            "keyring": {str(v): base64.b64encode(k).decode() for v, k in case.get("keyring", RING.keys).items()},
            "sealed": base64.b64encode(case["sealed"]).decode(),
            "expect": "denied" if case["expect"] is None else base64.b64encode(case["expect"]).decode(),
        }
        path = FOLDER / f"{name}.json"
        if not path.exists():
            path.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
