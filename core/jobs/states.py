"""The states of a job and the only ways between them."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """queued and running are on their way; the others are ends."""

    queued = "queued"
    running = "running"
    succeeded = "succeeded"
    failed = "failed"
    cancelled = "cancelled"
    expired = "expired"


# running -> queued is a retry: the worker handed the job back, or its lease ran out.
TRANSITIONS: dict[State, frozenset[State]] = {
    State.queued: frozenset({State.running, State.cancelled, State.expired}),
    State.running: frozenset({State.queued, State.succeeded, State.failed, State.cancelled, State.expired}),
    State.succeeded: frozenset(),
    State.failed: frozenset(),
    State.cancelled: frozenset(),
    State.expired: frozenset(),
}
ENDS = frozenset(state for state, targets in TRANSITIONS.items() if not targets)


def sources(target: State) -> list[State]:
    """The states from which `target` may be reached."""
    return [state for state, targets in TRANSITIONS.items() if target in targets]
