"""Which weights may be used, by what they were made from."""

from __future__ import annotations

from enum import StrEnum


class LicenceClass(StrEnum):
    """`clean` is made from public-domain and CC-BY data only; who may use `research` may use that, too."""

    clean = "clean"
    research = "research"
