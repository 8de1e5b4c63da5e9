"""Results as pictures: parts beside chance, accuracy, and cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure

from experiments.reproduce.tables import (
    BASELINES,
    COST_COLUMNS,
    FIDELITY_COLUMNS,
    PART_COLUMNS,
    maps_of,
)
from ppn.io.files import replacing
from ppn.visualization.palette import identity_colour as colour

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from experiments.reproduce.collect import Summary

_CHANCE = "#6b7280"
_STYLE = {
    "font.size": 9,
    "svg.hashsalt": "ppn",
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw(names: Sequence[str], summary: Summary, folder: Path) -> list[Path]:
    """Draw all figures, each as PNG and SVG.

    Args:
        names: The chains, "DATA/BACKBONE".
        summary: Their numbers.
        folder: Where files go.

    Returns:
        The files.
    """
    made: list[Path] = []
    shown = [name for name in names if maps_of(summary, name)]
    with mpl.rc_context(_STYLE):
        for data in dict.fromkeys(name.partition("/")[0] for name in shown):
            chosen = [name for name in shown if name.startswith(f"{data}/")]
            made += _save(_parts(chosen, summary), folder / f"parts-{data}")
        if shown:
            made += _save(_accuracy(shown, summary), folder / "accuracy")
            made += _save(_cost(shown, summary), folder / "cost")
    return made


def _parts(names: Sequence[str], summary: Summary) -> Figure:
    """A row for each backbone and a column for each metric; strategies one below the other."""
    metrics = [m for m in PART_COLUMNS if any(key[2] == m and key[0] in names for key in summary)]
    rows = max(len(maps_of(summary, name)) for name in names)
    figure = Figure(figsize=(2.6 * len(metrics) + 1.6, (0.26 * rows + 0.9) * len(names)))
    panels = figure.subplots(len(names), len(metrics), squeeze=False, sharey="row")
    for name, axes_row in zip(names, panels, strict=True):
        for metric, axes in zip(metrics, axes_row, strict=True):
            _dots(axes, name, metric, summary)
        axes_row[0].set_title(name, loc="left", fontweight="bold")
    figure.set_layout_engine("constrained")
    return figure


def _dots(axes: Axes, name: str, metric: str, summary: Summary) -> None:
    column = PART_COLUMNS[metric]
    maps = maps_of(summary, name)
    for position, row in enumerate(maps):
        spread = summary.get((name, row, metric))
        if spread is None:
            continue
        chance = row.startswith("chance")
        axes.errorbar(
            spread.mean * column.factor,
            position,
            xerr=(spread.std or 0.0) * column.factor,
            fmt="D" if chance else "s" if row in BASELINES else "o",
            color=_CHANCE if chance else colour(1) if row in BASELINES else colour(0),
            markersize=5,
            markerfacecolor="white" if chance else None,
            capsize=2.5,
            clip_on=False,
        )
    labels = [f"{row} (not exact)" if row in BASELINES else row for row in maps]
    axes.set_yticks(range(len(maps)), labels)
    axes.set_ylim(len(maps) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.set_xlabel(column.title)
    axes.grid(axis="x", color="#e5e7eb", linewidth=0.8)
    axes.set_axisbelow(True)


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
    _rows(axes, names)
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
    _rows(axes, names)
    axes.set_xlabel("seconds of one seed")
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False)
    figure.set_layout_engine("constrained")
    return figure


def _rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="x", color="#e5e7eb", linewidth=0.8)
    axes.set_axisbelow(True)


def _save(figure: Figure, stem: Path) -> list[Path]:
    files = [stem.with_suffix(suffix) for suffix in (".png", ".svg")]
    for file in files:
        # Without a date the same numbers give the same file.
        metadata = {"Date": None} if file.suffix == ".svg" else {"Software": None}
        with replacing(file) as temporary:
            figure.savefig(temporary, format=file.suffix[1:], dpi=160, metadata=metadata)
    return files
