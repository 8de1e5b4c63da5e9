"""Measured numbers, laid out: scales with their floors, and tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ppn.visualization.numbers import number

if TYPE_CHECKING:
    from ppn.report.content import Column, ExplainerRow, MetricCard, Report, Sensitivity


@dataclass(frozen=True)
class Tick:
    """Another level on a scale."""

    name: str
    text: str
    at: float


@dataclass(frozen=True)
class Gauge:
    """One metric; positions in % of the scale. `at` is None where a scale would say nothing."""

    metric: MetricCard
    value: str
    error: str | None
    at: float | None
    span: tuple[float, float] | None
    ends: tuple[str, str]
    ticks: list[Tick]
    note: str = ""


@dataclass(frozen=True)
class Cell:
    """One value of the explainers' table; `small`, how far it is from that of the chosen row."""

    text: str
    best: bool
    small: str = ""


def gauge(metric: MetricCard) -> Gauge:
    """Lay out one metric on a scale of its own."""
    values = [metric.value, *metric.levels.values()]
    bounds = metric.bounds or _bounds(values, metric.unit, bool(metric.levels))
    error = f"± {metric.error:.2g}" if metric.error is not None else None
    if metric.interval is not None:
        error = f"95\u202f% {_range(metric.interval)}"
    text = number(metric.value, metric.unit)
    if bounds is None:
        return Gauge(metric, text, error, None, None, ("", ""), [], _note(metric))
    low, high = bounds

    def at(value: float) -> float:
        return round(min(max(100 * (value - low) / (high - low), 0), 100), 2)

    ticks = [
        Tick(name, number(value, metric.unit), at(value))
        for name, value in sorted(metric.levels.items(), key=lambda item: item[1])
    ]
    span = None
    if metric.interval is not None:
        span = at(metric.interval[0]), at(metric.interval[1])
    elif metric.error:
        span = at(metric.value - metric.error), at(metric.value + metric.error)
    labels = f"{low:.3g}", f"{high:.3g}"
    return Gauge(metric, text, error, at(metric.value), span, labels, ticks, _note(metric))


def _bounds(values: list[float], unit: str, levels: bool) -> tuple[float, float] | None:
    if unit == "%" and min(values) >= 0 and max(values) <= 100:
        return 0.0, 100.0
    if not unit and min(values) >= 0 and max(values) <= 1 and max(values) >= 0.01:
        return 0.0, 1.0
    if not levels or min(values) == max(values):
        return None  # a dot on a scale of its own making shows nothing
    low, high = min(0.0, *values), max(0.0, *values)
    margin = 0.1 * (high - low)
    return low - margin * (low < 0), high + margin * (high > 0)


def comparison(report: Report) -> tuple[list[Column], list[list[Cell]]]:
    """Lay out the explainers: the columns, and a list of cells for each row.

    The best value of a column is sought among exact methods: the others solve an easier task.
    """
    columns = list(dict.fromkeys(name for row in report.explainers for name in row.values))
    exact = [row for row in report.explainers if row.exact and row.kind == "method"]
    best: dict[Column, float] = {}
    for column in columns:
        found = [row.values[column] for row in exact if column in row.values]
        if len(found) > 1 and column.better is not None:
            best[column] = min(found) if column.better == "lower" else max(found)
    rows = [
        [
            Cell(
                number(row.values.get(column)),
                row in exact and column in best and row.values.get(column) == best[column],
                _small(row, column),
            )
            for column in columns
        ]
        for row in report.explainers
    ]
    return columns, rows


def _note(metric: MetricCard) -> str:
    """Say in a sentence what an interval is over, and how far a score is towards its ceiling."""
    told = []
    if metric.interval is not None:
        told.append("The interval is a bootstrap over classes")
        if metric.image_interval is not None:
            told[0] += f"; over images it is {_range(metric.image_interval)}"
    if metric.share is not None:
        told.append(f"Share of the ceiling, from the best floor on: {metric.share:.2f}")
    return " ".join(f"{sentence}." for sentence in told)


def _small(row: ExplainerRow, column: Column) -> str:
    found = row.differences.get(column)
    if found is None:
        return ""
    value, low, high = found
    return _range((low, high)) if row.chosen else f"{_signed(value)} ({_range((low, high), True)})"


def _range(ends: tuple[float, float], signs: bool = False) -> str:
    low, high = (_signed(end) if signs else number(end) for end in ends)
    return f"{low} to {high}"


def _signed(value: float) -> str:
    return f"+{number(value)}" if value > 0 else number(value)


@dataclass(frozen=True)
class Shade:
    """One cell of a sensitivity table; `strength` in [0, 1] on the metric's whole scale."""

    text: str
    strength: float
    default: bool


def shades(table: Sensitivity) -> list[tuple[float, list[Shade]]]:
    """Lay out a sensitivity table row by row, with the first constant's value of each."""
    low, high = table.bounds
    return [
        (
            down,
            [
                Shade(
                    number(value) if high - low <= 1 else f"{value:.1f}",
                    round(min(max((value - low) / (high - low), 0), 1), 3),
                    table.default == (down, across),
                )
                for across, value in zip(table.columns[1], row, strict=True)
            ],
        )
        for down, row in zip(table.rows[1], table.values, strict=True)
    ]
