"""Runs side by side as a picture: each explainer's scores, and what knows nothing of the image."""

from __future__ import annotations

import io
import textwrap
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from ppn.errors import DataError
from ppn.report.measured import ERROR, INTERVAL, merged
from ppn.visualization.palette import identity_colour

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes

    from ppn.commands.finished_run import FinishedRun
    from ppn.report.measured import MeasuredExplainer, MeasuredMetric

_STYLES = (":", "--", "-.")
"""Lines of the floors, in turn."""
_GROUP = 0.8
_INK = "#16181d"


def draw(runs: Sequence[FinishedRun], notes: Sequence[str], kind: str) -> bytes:
    """Draw bars of every explainer, grouped by run, and lines of floors, one panel per metric.

    Args:
        runs: The runs; those without scores of maps are left out.
        notes: What is not comparable, printed below.
        kind: "png", "svg" or "pdf".

    Returns:
        Content of the file.

    Raises:
        DataError: If no run has scores of maps.
    """
    runs = [run for run in runs if run.measured.map_metrics]
    every = merged(run.measured for run in runs)
    metrics, floors = every.map_metrics, every.floors
    if not metrics:
        raise DataError("None of these runs has scores of maps to draw: give tested networks.")
    bars = [explainer for explainer in every.explainers.values() if explainer.kind != "floor"]
    columns = min(2, len(metrics))
    lines = -(-len(metrics) // columns)
    width = max(5.6, 1.2 + 0.22 * len(bars) * len(runs)) * columns
    text = [line for note in notes for line in textwrap.wrap(f"Note: {note}", int(width * 13))]
    height = 2.9 * lines + 1.0 + 0.17 * len(text)
    figure = Figure(figsize=(width, height), dpi=160, layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False)
    for axis, metric in zip(axes.flat, metrics, strict=False):
        _panel(axis, runs, bars, floors, metric)
    for axis in axes.flat[len(metrics) :]:
        axis.set_axis_off()
    handles: dict[str, Any] = {}
    for axis in axes.flat:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    levels = {floor.label for floor in floors}
    order = sorted(handles, key=levels.__contains__)
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


def _panel(
    axis: Axes,
    runs: Sequence[FinishedRun],
    bars: Sequence[MeasuredExplainer],
    floors: Sequence[MeasuredExplainer],
    metric: MeasuredMetric,
) -> None:
    width = _GROUP / max(1, len(bars))
    for index, explainer in enumerate(bars):
        offset = (index - (len(bars) - 1) / 2) * width
        plain = explainer.label == explainer.title
        for at, scores in _scores(runs, explainer, metric):
            axis.bar(
                at + offset,
                scores[metric.key],
                0.92 * width,
                yerr=_error(scores, metric.key),
                color=identity_colour(index),
                hatch=None if plain else "//",
                edgecolor=None if plain else "white",
                linewidth=0,
                error_kw={"ecolor": _INK, "elinewidth": 1, "capsize": 2},
                label=explainer.label,
            )
    for index, floor in enumerate(floors):
        style = _STYLES[index % len(_STYLES)]
        for at, scores in _scores(runs, floor, metric):
            value = scores[metric.key]
            ends = (at - _GROUP / 2 - 0.05, at + _GROUP / 2 + 0.05)
            axis.plot(ends, (value, value), style, color=_INK, linewidth=1.4, label=floor.label)
    axis.set_title(metric.heading, loc="left", fontsize=10)
    axis.set_xticks(range(len(runs)), [_wrapped(run.name) for run in runs], fontsize=8)
    axis.set_xlim(-0.6, len(runs) - 0.4)
    if metric.bounds is not None:
        low, high = metric.bounds
        margin = high - low
        axis.set_ylim(low - 0.02 * margin, high + 0.04 * margin)  # a floor of 0 is seen too
    axis.grid(axis="y", color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right", "bottom"]].set_visible(False)
    axis.axhline(0, color=_INK, linewidth=0.8, zorder=0)


def _error(scores: dict[str, Any], key: str) -> Any:  # noqa: ANN401 - as matplotlib takes it
    """How far the 95 % interval reaches below and above; else the standard error."""
    ends = scores.get(f"{key}{INTERVAL}")
    if ends is None:
        return scores.get(f"{key}{ERROR}")
    return [[max(0.0, scores[key] - ends[0])], [max(0.0, ends[1] - scores[key])]]


def _scores(
    runs: Sequence[FinishedRun], explainer: MeasuredExplainer, metric: MeasuredMetric
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the place of each run in which the explainer has a score, and its scores."""
    for at, run in enumerate(runs):
        found = run.measured.explainers.get(explainer.name)
        if found is not None and found.scores.get(metric.key) is not None:
            yield at, found.scores


def _wrapped(name: str) -> str:
    return "\n".join(textwrap.wrap(name.replace("/", "/ "), 22)).replace("/ ", "/")
