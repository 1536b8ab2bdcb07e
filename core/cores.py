"""How many of the machine's cores are ours."""

from __future__ import annotations

import os
from pathlib import Path


def cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """A container's share of the machine's is known to its control group only; torch and os count them all."""
    there = os.cpu_count() or 1
    try:
        most, period = quota.read_text(encoding="ascii").split()
        return max(1, min(there, int(most) // int(period)))
    except (OSError, ValueError):  # there is no such group, or no limit ("max")
        return there
