"""What a protection method claims."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Promise:
    """What a protected photo claims: do people recognise the person, do machines match them?"""

    people_recognise: bool
    machines_match: bool
