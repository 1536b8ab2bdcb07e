"""Which runs of a job are tried again, and when: the one place that says so."""

from __future__ import annotations

from enum import StrEnum

from core.errors import Unavailable


class Fault(StrEnum):
    """Why a run ended without an outcome."""

    transient = "transient"  # something the service needs was away; the photo is not at fault
    permanent = "permanent"  # the same run would end the same way
    poison = "poison"  # the worker was lost with it, perhaps because of it


# Seconds to wait after the first, second ... run that ended so. When they are used up, the job fails.
PAUSES: dict[Fault, tuple[float, ...]] = {
    Fault.transient: (2, 4, 8, 16, 32, 64, 128),  # eight runs: outlasts four minutes without a store
    Fault.permanent: (),
    Fault.poison: (0, 0),  # the lease has been waited for already
}


def fault_of(error: Exception) -> Fault:
    """The class of what a run raised."""
    return Fault.transient if isinstance(error, Unavailable | MemoryError) else Fault.permanent


def pause(fault: Fault, count: int) -> float | None:
    """Seconds until the next run, after the `count`-th that ended so; None: there is none."""
    pauses = PAUSES[fault]
    return pauses[count - 1] if count <= len(pauses) else None
