"""Results as pictures: parts beside chance, accuracy, and cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from experiments.reproduce.tables import (
    COST_COLUMNS,
    FIDELITY_COLUMNS,
    by_title,
    maps_of,
)
from ppn.report.columns import metric_columns
from ppn.visualization.palette import identity_colour as colour
from ppn.visualization.plots import CHANCE, horizontal, save, style

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from experiments.reproduce.collect import Summary
    from ppn.report.measured import Measured, MeasuredMetric


def draw(names: Sequence[str], summary: Summary, measured: Measured, folder: Path) -> list[Path]:
    """Draw all figures, each as PNG and SVG.

    Args:
        names: The chains, "DATA/BACKBONE".
        summary: Their numbers.
        measured: Which metrics and explainers they have.
        folder: Where files go.

    Returns:
        The files.
    """
    made: list[Path] = []
    shown = [name for name in names if maps_of(summary, name)]
    with style():
        for data in dict.fromkeys(name.partition("/")[0] for name in shown):
            chosen = [name for name in shown if name.startswith(f"{data}/")]
            made += save(_parts(chosen, summary, measured), folder / f"parts-{data}")
        if shown:
            made += save(_accuracy(shown, summary), folder / "accuracy")
            made += save(_cost(shown, summary), folder / "cost")
    return made


def _parts(names: Sequence[str], summary: Summary, measured: Measured) -> Figure:
    """A row for each backbone and a column for each metric; explainers one below the other."""
    keys = {key[2] for key in summary if key[0] in names and key[1]}
    metrics = [metric for metric in measured.map_metrics if metric.key in keys]
    rows = max(len(maps_of(summary, name)) for name in names)
    figure = Figure(figsize=(2.6 * len(metrics) + 1.6, (0.26 * rows + 0.9) * len(names)))
    panels = figure.subplots(len(names), len(metrics), squeeze=False, sharey="row")
    for name, axes_row in zip(names, panels, strict=True):
        for metric, axes in zip(metrics, axes_row, strict=True):
            _dots(axes, name, metric, summary, measured)
        axes_row[0].set_title(name, loc="left", fontweight="bold")
    figure.set_layout_engine("constrained")
    return figure


def _dots(
    axes: Axes, name: str, metric: MeasuredMetric, summary: Summary, measured: Measured
) -> None:
    column, explainers = metric_columns(measured.map_metrics)[metric.key], by_title(measured)
    maps = maps_of(summary, name)
    for position, row in enumerate(maps):
        spread = summary.get((name, row, metric.key))
        if spread is None:
            continue
        floor = explainers[row].kind == "floor"
        plain = explainers[row].label == row
        axes.errorbar(
            spread.mean * column.factor,
            position,
            xerr=(spread.std or 0.0) * column.factor,
            fmt="D" if floor else "o" if plain else "s",
            color=CHANCE if floor else colour(0) if plain else colour(1),
            markersize=5,
            markerfacecolor="white" if floor else None,
            capsize=2.5,
            clip_on=False,
        )
    horizontal(axes, [explainers[row].label for row in maps])
    if metric.bounds is not None:
        axes.set_xlim(*(end * column.factor for end in metric.bounds))
    axes.set_xlabel(column.title)


def _accuracy(names: Sequence[str], summary: Summary) -> Figure:
    figure = Figure(figsize=(6.4, 0.42 * len(names) + 1.1))
    axes = figure.subplots()
    marks = (("blackbox_accuracy", "black box", "o", 9.0), ("accuracy", "prototypes", "x", 6.0))
    for number, (metric, label, mark, size) in enumerate(marks):
        spreads = [summary.get((name, "", metric)) for name in names]
        seen = [(i, s) for i, s in enumerate(spreads) if s is not None]
        axes.errorbar(
            [100 * s.mean for _, s in seen],
            [i for i, _ in seen],
            xerr=[100 * (s.std or 0.0) for _, s in seen],
            linestyle="none",
            marker=mark,
            markersize=size,
            markerfacecolor="none",
            color=colour(number),
            capsize=2.5,
            label=label,
            clip_on=False,
        )
    horizontal(axes, names)
    axes.set_xlabel(FIDELITY_COLUMNS["accuracy"].title.replace("of the prototypes", "accuracy"))
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False)
    figure.set_layout_engine("constrained")
    return figure


def _cost(names: Sequence[str], summary: Summary) -> Figure:
    figure = Figure(figsize=(6.4, 0.42 * len(names) + 1.1))
    axes = figure.subplots()
    left = [0.0] * len(names)
    for number, (metric, column) in enumerate(COST_COLUMNS.items()):
        spreads = [summary.get((name, "", metric)) for name in names]
        widths = [0.0 if spread is None else spread.mean for spread in spreads]
        label = column.title.removesuffix(", s")
        hatch = ("", "///", "...")[number]
        axes.barh(
            range(len(names)),
            widths,
            left=left,
            height=0.6,
            color=colour(number),
            edgecolor="white",
            hatch=hatch,
            label=label,
        )
        left = [start + width for start, width in zip(left, widths, strict=True)]
    horizontal(axes, names)
    axes.set_xlabel("seconds of one seed")
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False)
    figure.set_layout_engine("constrained")
    return figure
