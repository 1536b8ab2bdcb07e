"""The time of a training run."""

from __future__ import annotations

import pytest

from training import schedule


def run(monkeypatch: pytest.MonkeyPatch, seconds_a_step: float, **wanted: float) -> list[schedule.Tick]:
    clock = iter(i * seconds_a_step for i in range(10_000))
    monkeypatch.setattr("time.thread_time", lambda: next(clock))
    return list(schedule.ticks(minutes=10, warm_up=4, **wanted))


def test_rates_rise_stay_and_fall_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(monkeypatch, 1, falling=0.25)
    shares = [tick.share for tick in found]
    assert shares[:5] == [0, 0.25, 0.5, 0.75, 1]
    assert shares[5:449] == [1] * 444
    assert shares[-1] == 0
    assert shares[449:] == sorted(shares[449:], reverse=True)
    assert found[-1].minutes == 10


def test_it_reports_and_saves_now_and_then_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(monkeypatch, 7, falling=1.0)
    reported, saved = ([tick.minutes for tick in found if getattr(tick, what)] for what in ("report", "save"))
    assert len(reported) == 10
    assert len(saved) == 2
    assert reported[-1] == saved[-1] == found[-1].minutes
    assert [tick.last for tick in found] == [False] * (len(found) - 1) + [True]
