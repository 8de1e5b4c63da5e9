"""Runs side by side as a picture: each strategy's scores, and what chance reaches."""

from __future__ import annotations

import io
import textwrap
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from ppn.errors import DataError
from ppn.visualization.palette import identity_colour

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from ppn.commands.finished_run import FinishedRun

# Metric: title, and the end of its axis.
_METRICS = {
    "consistency": ("Consistency %", 100.0),
    "stability": ("Stability %", 100.0),
    "distinctiveness": ("Distinctiveness", 1.0),
    "distinct_peaks": ("Distinct peaks", 1.0),
}
_CHANCE = {"centre": ("chance: image centre", "--"), "random": ("chance: random maps", ":")}
_GROUP = 0.8
_INK = "#16181d"


def draw(runs: Sequence[FinishedRun], notes: Sequence[str], kind: str) -> bytes:
    """Draw bars of every strategy, grouped by run, one panel per metric.

    Args:
        runs: The runs; those without scores of maps are left out.
        notes: What is not comparable, printed below.
        kind: "png", "svg" or "pdf".

    Returns:
        Content of the file.

    Raises:
        DataError: If no run has scores of maps.
    """
    runs = [run for run in runs if run.rows("strategies")]
    metrics = [name for name in _METRICS if any(_known(run, name) for run in runs)]
    if not metrics:
        raise DataError("None of these runs has scores of maps to draw: give tested networks.")
    strategies = list(dict.fromkeys(name for run in runs for name in run.rows("strategies")))
    columns = min(2, len(metrics))
    lines = -(-len(metrics) // columns)
    width = max(5.6, 1.2 + 0.22 * len(strategies) * len(runs)) * columns
    text = [line for note in notes for line in textwrap.wrap(f"Note: {note}", int(width * 13))]
    height = 2.9 * lines + 1.0 + 0.17 * len(text)
    figure = Figure(figsize=(width, height), dpi=160, layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False)
    for axis, metric in zip(axes.flat, metrics, strict=False):
        _panel(axis, runs, strategies, metric)
    for axis in axes.flat[len(metrics) :]:
        axis.set_axis_off()
    handles: dict[str, Any] = {}
    for axis in axes.flat:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    order = sorted(handles, key=lambda label: label.startswith("chance"))
    figure.legend(
        [handles[label] for label in order],
        order,
        loc="outside upper center",
        ncols=min(2 * columns, len(handles)),
        frameon=False,
        fontsize=9,
    )
    if text:
        figure.supxlabel("\n".join(text), fontsize=8, color=_INK, x=0.01, ha="left")
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind)
    return buffer.getvalue()


def _known(run: FinishedRun, metric: str) -> bool:
    return any(row.get(metric) is not None for row in run.rows("strategies").values())


def _panel(axis: Axes, runs: Sequence[FinishedRun], strategies: Sequence[str], metric: str) -> None:
    title, top = _METRICS[metric]
    width = _GROUP / len(strategies)
    for index, strategy in enumerate(strategies):
        label = "unrefined (not exact)" if strategy == "unrefined" else strategy
        offset = (index - (len(strategies) - 1) / 2) * width
        for at, run in enumerate(runs):
            row = run.rows("strategies").get(strategy, {})
            if row.get(metric) is None:
                continue
            axis.bar(
                at + offset,
                row[metric],
                0.92 * width,
                yerr=row.get(f"{metric}_standard_error"),
                color=identity_colour(index),
                hatch="//" if strategy == "unrefined" else None,
                edgecolor="white" if strategy == "unrefined" else None,
                linewidth=0,
                error_kw={"ecolor": _INK, "elinewidth": 1, "capsize": 2},
                label=label,
            )
    for level, (name, style) in _CHANCE.items():
        for at, run in enumerate(runs):
            value = run.chance(level, metric)
            if value is not None:
                ends = (at - _GROUP / 2 - 0.05, at + _GROUP / 2 + 0.05)
                axis.plot(ends, (value, value), style, color=_INK, linewidth=1.4, label=name)
    axis.set_title(title, loc="left", fontsize=10)
    axis.set_xticks(range(len(runs)), [_wrapped(run.name) for run in runs], fontsize=8)
    axis.set_xlim(-0.6, len(runs) - 0.4)
    axis.set_ylim(-0.02 * top, 1.04 * top)  # a chance level of 0 is seen too
    axis.grid(axis="y", color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right", "bottom"]].set_visible(False)
    axis.axhline(0, color=_INK, linewidth=0.8, zorder=0)


def _wrapped(name: str) -> str:
    return "\n".join(textwrap.wrap(name.replace("/", "/ "), 22)).replace("/ ", "/")
