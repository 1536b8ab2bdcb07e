"""How long a training run lasts, how large its steps are, and when it reports and saves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

REPORT_SECONDS, SAVE_SECONDS = 60.0, 300.0


@dataclass(frozen=True, slots=True)
class Tick:
    """What one step is to do: learn with `share` of the full rates, then report or save where that is due."""

    minutes: float
    share: float
    report: bool
    save: bool
    last: bool


def ticks(minutes: float, warm_up: int, falling: float) -> Iterator[Tick]:
    """One for each step until the minutes are up; the last one reports and saves.

    Rates rise over `warm_up` steps and fall to nothing in the last `falling` (0..1] of the time. Minutes are those of
    this thread's processor time: a run that is stopped or crowded out loses none of them.
    """
    began = reported = saved = time.thread_time()
    step, last = 0, False
    while not last:
        now = time.thread_time()
        used = (now - began) / 60
        last = used >= minutes
        share = min(1.0, step / warm_up) * max(0.0, min(1.0, (1 - used / minutes) / falling))
        report, save = last or now - reported > REPORT_SECONDS, last or now - saved > SAVE_SECONDS
        reported, saved = now if report else reported, now if save else saved
        yield Tick(used, share, report, save, last)
        step += 1
