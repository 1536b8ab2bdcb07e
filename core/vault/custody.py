"""Who holds what opens a restoration key."""

from __future__ import annotations

from enum import StrEnum

from core.errors import RequestRefused
from core.vault.passwords import check_new

ALONE_LENGTH = 16  # characters of a password that has no keyring beside it


class Custody(StrEnum):
    """server: the service alone. split: the service and the password together. caller: the password alone, so
    that nothing on the server opens it, and nothing that is lost on the server closes it."""

    # In capitals, because a str has a method `split`.
    SERVER = "server"
    SPLIT = "split"
    CALLER = "caller"

    def check(self, password: str | None) -> None:
        """Is this a password for a new item? None: a restore code is made, which is always good enough.

        Raises:
            RequestRefused: too weak, or there is no use for one.
        """
        if password is None:
            return
        if self is Custody.SERVER:
            raise RequestRefused("custody server takes no password: the service restores alone")
        check_new(password)
        if self is Custody.CALLER and len(password) < ALONE_LENGTH:
            raise RequestRefused(
                f"custody caller needs a password of {ALONE_LENGTH} characters or more, because nothing else protects "
                "the photo; without one a restore code is made"
            )
