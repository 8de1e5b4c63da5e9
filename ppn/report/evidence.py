"""Measured numbers, laid out: scales with their chance levels, and tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ppn.visualization.numbers import number

if TYPE_CHECKING:
    from ppn.report.content import Metric, Report, Sensitivity


@dataclass(frozen=True)
class Tick:
    """A chance level on a scale."""

    name: str
    text: str
    at: float


@dataclass(frozen=True)
class Gauge:
    """One metric; positions in % of the scale. `at` is None where a scale would say nothing."""

    metric: Metric
    value: str
    error: str | None
    at: float | None
    span: tuple[float, float] | None
    ends: tuple[str, str]
    ticks: list[Tick]


@dataclass(frozen=True)
class Cell:
    """One value of the strategies' table."""

    text: str
    best: bool


def gauge(metric: Metric) -> Gauge:
    """Lay out one metric on a scale of its own."""
    values = [metric.value, *metric.chance.values()]
    bounds = metric.bounds or _bounds(values, metric.unit, bool(metric.chance))
    error = f"{metric.error:.2g}" if metric.error is not None else None
    text = number(metric.value, metric.unit)
    if bounds is None:
        return Gauge(metric, text, error, None, None, ("", ""), [])
    low, high = bounds

    def at(value: float) -> float:
        return round(min(max(100 * (value - low) / (high - low), 0), 100), 2)

    ticks = [
        Tick(name, number(value, metric.unit), at(value))
        for name, value in sorted(metric.chance.items(), key=lambda item: item[1])
    ]
    span = None
    if metric.error:
        span = at(metric.value - metric.error), at(metric.value + metric.error)
    labels = f"{low:.3g}", f"{high:.3g}"
    return Gauge(metric, text, error, at(metric.value), span, labels, ticks)


def _bounds(values: list[float], unit: str, chance: bool) -> tuple[float, float] | None:
    if unit == "%" and min(values) >= 0 and max(values) <= 100:
        return 0.0, 100.0
    if not unit and min(values) >= 0 and max(values) <= 1 and max(values) >= 0.01:
        return 0.0, 1.0
    if not chance or min(values) == max(values):
        return None  # a dot on a scale of its own making shows nothing
    low, high = min(0.0, *values), max(0.0, *values)
    margin = 0.1 * (high - low)
    return low - margin * (low < 0), high + margin * (high > 0)


def comparison(report: Report) -> tuple[list[str], list[list[Cell]]]:
    """Lay out the strategies: the columns' names, and a list of cells for each row.

    The best value of a column is sought among exact strategies: the others solve an easier task.
    """
    columns = list(dict.fromkeys(name for row in report.strategies for name in row.values))
    best: dict[str, float] = {}
    for name in columns:
        found = [row.values[name] for row in report.strategies if row.exact and name in row.values]
        if len(found) > 1:
            best[name] = min(found) if name in report.lower_is_better else max(found)
    rows = [
        [
            Cell(
                number(row.values.get(name)),
                row.exact and name in best and row.values.get(name) == best[name],
            )
            for name in columns
        ]
        for row in report.strategies
    ]
    return columns, rows


@dataclass(frozen=True)
class Shade:
    """One cell of the sensitivity table; `strength` in [0, 1] on an absolute scale of 0 to 100."""

    text: str
    strength: float
    default: bool


def shades(table: Sensitivity) -> list[tuple[int, list[Shade]]]:
    """Lay out the sensitivity table row by row, with the half size of each."""
    return [
        (
            half,
            [
                Shade(
                    f"{value:.1f}",
                    round(min(max(value / 100, 0), 1), 3),
                    table.default == (half, threshold),
                )
                for threshold, value in zip(table.thresholds, row, strict=True)
            ],
        )
        for half, row in zip(table.half_sizes, table.values, strict=True)
    ]
