"""A bank's side of it: photos of customers are protected when they come in; the original comes back for a dispute, to
whom a second credential names; and goes for good when the customer does.

The bank keeps a photo's id with the customer and the protected picture where its systems look. It keeps no original.
"""

import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sider.client import Client, NotFound, PhotoRefused, SiderError


class Portraits:
    """Portraits of customers. token: a JWT of the clerk who restores, from the bank's own identity provider."""

    def __init__(self, folder: Path, token: Callable[[], str] | None = None) -> None:
        # split: restoring takes the service and the bank's password, so that neither can do it alone.
        self.password = os.environ["BANK_PASSWORD"]
        self.folder, self.register = folder, folder / "register.json"
        folder.mkdir(parents=True, exist_ok=True)
        self.client = Client(os.environ["SIDER_SERVER"], os.environ["SIDER_API_KEY"], token=token)

    def take_in(self, customer: str, photo: bytes) -> str:
        """The customer's protected portrait. The number of the customer makes a repeated call harmless."""
        try:
            accepted = self.client.protect(photo, password=self.password, idempotency_key=f"portrait {customer}")
        except PhotoRefused as error:
            raise SystemExit(f"ask for another photo: {error}") from error
        self.client.wait(accepted.job_id, timeout=300)
        self.client.download(accepted.photo_id, self.folder / f"{customer}.png")
        self.register.write_text(json.dumps(self.known() | {customer: accepted.photo_id}))
        return accepted.photo_id

    def dispute(self, customer: str, case: str, target: Path) -> Path:
        """The original, for a case that the audit log keeps."""
        accepted = self.client.restore(self.known()[customer], reason=f"dispute {case}", password=self.password)
        return self.client.download_restored(self.client.wait(accepted.job_id), target)

    def forget(self, customer: str) -> None:
        """The customer's right to erasure: the key is destroyed first. May be repeated."""
        with suppress(NotFound):  # erased before
            self.client.erase(self.known()[customer])
        (self.folder / f"{customer}.png").unlink(missing_ok=True)

    def known(self) -> dict[str, str]:
        """Ids of photos by customer."""
        found: dict[str, str] = json.loads(self.register.read_text()) if self.register.exists() else {}
        return found


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(
            "BANK_PASSWORD=... SIDER_SERVER=http://... SIDER_API_KEY=sdr_... python examples/bank.py me.jpg folder/"
        )
    portraits = Portraits(Path(sys.argv[2]))
    try:
        portraits.take_in("4711", Path(sys.argv[1]).read_bytes())
        portraits.dispute("4711", "2026-1138", portraits.folder / "original.png")
        portraits.forget("4711")
    except SiderError as error:
        sys.exit(f"{error.code}: {error}")
