"""What the security tests have measured, printed at the end of `make test-security`."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Report:
    lines: list[str] = field(default_factory=list)

    def add(self, what: str, value: object) -> None:
        self.lines.append(f"{what}: {value}")
