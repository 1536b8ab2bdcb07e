"""Columns of a chart in the coordinates of its SVG, so that the template only writes them down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.jobs.statistics import Bucket

WIDTH, HEIGHT, GAP = 360.0, 80.0, 2.0


@dataclass(frozen=True, slots=True)
class Column:
    """Two stacked bars: lower and upper, each (y, height)."""

    x: float
    width: float
    lower: tuple[float, float]
    upper: tuple[float, float]
    title: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Columns that fill WIDTH x HEIGHT; `top` is what the highest stands for."""

    columns: list[Column]
    top: str
    width: float = WIDTH
    height: float = HEIGHT


def columns(
    buckets: Sequence[Bucket], values: Callable[[Bucket], tuple[float, float]], text: Callable[[float], str]
) -> Chart:
    """A column for every bucket, of its two values."""
    top = max((sum(values(bucket)) for bucket in buckets), default=0)
    scale, step = HEIGHT / (top or 1), WIDTH / len(buckets)

    def column(number: int, bucket: Bucket) -> Column:
        low, high = (round(value * scale, 2) for value in values(bucket))
        lower, upper = (round(HEIGHT - low, 2), low), (round(HEIGHT - low - high, 2), high)
        title = f"{bucket.begin:%H:%M}: {' + '.join(text(value) for value in values(bucket))}"
        return Column(round(number * step, 2), step - GAP, lower, upper, title)

    return Chart([column(n, b) for n, b in enumerate(buckets)], text(top))
