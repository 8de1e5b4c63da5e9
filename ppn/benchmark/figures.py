"""What a benchmark has found, as pictures: scores, trade-offs, ranks and critical differences."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from ppn.benchmark.critical_difference import critical_difference
from ppn.benchmark.tables import COST, chosen
from ppn.explainers.chance import RandomMaps
from ppn.explainers.part_prototypes import PartPrototypes
from ppn.report.columns import Column, metric_columns
from ppn.visualization.palette import identity_colour
from ppn.visualization.plots import CHANCE, GRID, INK, horizontal, save, style

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from ppn.benchmark.results import Curve, Ends, Outcome
    from ppn.explainers.base import Explainer
    from ppn.metrics.ranks import Ranking
    from ppn.report.measured import MeasuredExplainer, MeasuredMetric

SUFFIXES = (".pdf", ".png")
_MARKS = {"method": "o", "control": "s", "ceiling": "*", "floor": "D"}
_SIZES = {"method": 5.5, "control": 5.0, "ceiling": 9.0, "floor": 4.5}
_COST = "seconds_per_image"


class Point(NamedTuple):
    """A printed value and the ends of its interval, which are the value where there is none."""

    value: float
    ends: Ends


def draw(outcome: Outcome, folder: Path) -> list[Path]:
    """Draw all figures, each as PDF and PNG.

    Args:
        outcome: What was found.
        folder: Where files go.

    Returns:
        The files.
    """
    metrics = chosen(outcome)
    figures: dict[str, Figure] = {}
    with style():
        if metrics:
            figures["scores"] = _scores(outcome, metrics)
            figures["trade-offs"] = _trade_offs(outcome, metrics)
        for metric in outcome.metrics:
            curves = {name: outcome.curve(name, metric.key) for name in outcome.names}
            known = {name: found for name, found in curves.items() if found is not None}
            if known:
                figures[f"curve-{metric.key}"] = _curves(outcome, known, metric)
        ranked = {m.key: found for m in metrics if (found := outcome.ranked(m)) is not None}
        if ranked:
            figures["ranks"] = _ranks(outcome, ranked)
        for key, (names, ranking) in ranked.items():
            title = outcome.measured.metrics[key].heading
            labels = [outcome.measured.explainers[name].title for name in names]
            figures[f"critical-difference-{key}"] = critical_difference(labels, ranking, title)
        return [
            path
            for stem, figure in figures.items()
            for path in save(figure, folder / stem, SUFFIXES)
        ]


def _scores(outcome: Outcome, metrics: Sequence[MeasuredMetric]) -> Figure:
    """Explainers one below the other, a column for each metric, with intervals over classes."""
    names, columns = outcome.names, metric_columns(metrics)
    figure = Figure(figsize=(1.9 * len(metrics) + 2.4, 0.24 * len(names) + 0.9))
    panels = figure.subplots(1, len(metrics), squeeze=False, sharey=True)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        column = columns[metric.key]
        for place, name in enumerate(names):
            point = _point(outcome, name, metric.key, column)
            if point is not None:
                _mark(axes, outcome, name, (point, Point(place, (place, place))))
        if metric.bounds is not None:
            axes.set_xlim(*(end * column.factor for end in metric.bounds))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel(_wrapped(column.title))
        horizontal(axes, [outcome.measured.explainers[name].label for name in names])
    figure.set_layout_engine("constrained")
    return figure


def _trade_offs(outcome: Outcome, metrics: Sequence[MeasuredMetric]) -> Figure:
    """The first metric against each other one, and against the cost of an explanation."""
    first, *others = metrics
    columns = metric_columns(metrics)
    axis = {metric.key: columns[metric.key] for metric in others} | {_COST: COST[_COST]}
    across = 2 if len(axis) in (2, 4) else min(3, len(axis))
    down = -(-len(axis) // across)
    lines = -(-len(outcome.names) // 3)
    figure = Figure(figsize=(3.1 * across + 0.4, 2.7 * down + 0.17 * lines + 0.4))
    panels = figure.subplots(down, across, squeeze=False)
    for axes, (key, column) in zip(panels.flat, axis.items(), strict=False):
        for number, name in enumerate(outcome.names, 1):
            up = _point(outcome, name, first.key, columns[first.key])
            right = _point(outcome, name, key, column)
            if up is None or right is None:
                continue
            _mark(axes, outcome, name, (right, up))
            axes.annotate(
                str(number),
                (right.value, up.value),
                xytext=(4, 4),
                textcoords="offset points",
                fontsize=7,
                color=INK,
            )
        if key == _COST:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
            axes.xaxis.set_minor_formatter(NullFormatter())
        else:
            axes.xaxis.set_major_locator(MaxNLocator(4))  # more run into each other
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel(column.title)
        axes.grid(color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
    for axes in panels[:, 0]:
        axes.set_ylabel(columns[first.key].title)
    for axes in panels.flat[len(axis) :]:
        axes.set_axis_off()
    listed = [
        f"{number}  {outcome.measured.explainers[name].label}"
        for number, name in enumerate(outcome.names, 1)
    ]
    figure.supxlabel(_in_columns(listed, 3), fontsize=7, family="monospace", x=0.01, ha="left")
    figure.set_layout_engine("constrained")
    return figure


def _ranks(outcome: Outcome, ranked: dict[str, tuple[list[str], Ranking]]) -> Figure:
    """Mean ranks with intervals over classes; grey: not to be told from the best (Nemenyi)."""
    names, best = next(iter(ranked.values()))
    order = [name for _, name in sorted((best.mean[i].mean, n) for i, n in enumerate(names))]
    others = (name for found, _ in ranked.values() for name in found)
    order = list(dict.fromkeys([*order, *others]))
    figure = Figure(figsize=(1.9 * len(ranked) + 2.4, 0.24 * len(order) + 0.9))
    panels = figure.subplots(1, len(ranked), squeeze=False, sharey=True)[0]
    for axes, (key, (found, ranking)) in zip(panels, ranked.items(), strict=True):
        means = {name: ranking.mean[place] for place, name in enumerate(found)}
        least = min(mean.mean for mean in means.values())
        axes.axvspan(least, least + ranking.critical_difference, color=GRID, linewidth=0)
        for place, name in enumerate(order):
            if name in means:
                mean = means[name]
                point = Point(mean.mean, (mean.low, mean.high))
                _mark(axes, outcome, name, (point, Point(place, (place, place))))
        axes.set_xlim(0.5, len(found) + 0.5)
        axes.set_xlabel(_wrapped(f"rank by {outcome.measured.metrics[key].title}"))
        horizontal(axes, [outcome.measured.explainers[name].label for name in order])
    figure.set_layout_engine("constrained")
    return figure


def _curves(outcome: Outcome, curves: dict[str, Curve], metric: MeasuredMetric) -> Figure:
    """A panel for each explainer: its mean curve with its band, beside that of random maps."""
    chance = curves.get(RandomMaps.key)
    across = min(4, len(curves))
    down = -(-len(curves) // across)
    figure = Figure(figsize=(max(4.4, 1.8 * across), 1.5 * down + 0.9))
    panels = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    for number, axes in enumerate(panels.flat):
        if number >= len(curves):
            axes.set_axis_off()
            panels.flat[number - across].xaxis.set_tick_params(labelbottom=True)
    for axes, (name, curve) in zip(panels.flat, curves.items(), strict=False):
        explainer = outcome.measured.explainers[name]
        colour, steps = _colour(outcome, explainer), np.linspace(0, 100, len(curve.mean))
        if chance is not None:
            places = np.linspace(0, 100, len(chance.mean))
            axes.plot(places, chance.mean, "--", color=CHANCE, linewidth=0.9)
        axes.fill_between(steps, curve.low, curve.high, color=colour, alpha=0.25, linewidth=0)
        axes.plot(steps, curve.mean, color=colour, linewidth=1.2)
        axes.set_title(_wrapped(explainer.label), loc="left", fontsize=7)
        axes.set_xlim(0, 100)
        axes.grid(color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
    dashed = "" if chance is None else "; dashed: random maps"
    told = f"{metric.heading}: mean over classes, band: 95 % interval{dashed}"
    figure.suptitle(told, x=0.01, ha="left", fontsize=9)
    figure.supxlabel("steps done, %", fontsize=9)
    figure.set_layout_engine("constrained")
    return figure


def _mark(axes: Axes, outcome: Outcome, name: str, place: tuple[Point, Point]) -> None:
    """Draw a point with its intervals."""
    explainer = outcome.measured.explainers[name]
    errors = [[[p.value - p.ends[0]], [p.ends[1] - p.value]] for p in place]
    axes.errorbar(
        place[0].value,
        place[1].value,
        xerr=errors[0],
        yerr=errors[1],
        fmt=_MARKS[explainer.kind],
        color=_colour(outcome, explainer),
        markersize=_SIZES[explainer.kind],
        markerfacecolor="white" if explainer.kind == "floor" else None,
        elinewidth=0.9,
        capsize=0,
        clip_on=False,
        zorder=3,
    )


def _colour(outcome: Outcome, explainer: MeasuredExplainer) -> str:
    """One colour for each family of methods."""
    if explainer.kind == "floor":
        return CHANCE
    if explainer.kind != "method":
        return INK
    methods = {one.name: one for one in outcome.benchmark.explainers if one.kind == "method"}
    families = list(dict.fromkeys(_family(one) for one in methods.values()))
    return identity_colour(families.index(_family(methods[explainer.name])))


def _family(explainer: Explainer) -> str:
    """What has one colour: ways to refine the same parts, and what is in the same file."""
    made_of = explainer.discoverer if isinstance(explainer, PartPrototypes) else None
    return type(explainer).__module__ if made_of is None else made_of.name


def _point(outcome: Outcome, name: str, key: str, column: Column) -> Point | None:
    if key in COST:
        cost = outcome.cost(name, key)
        return None if cost is None else Point(cost * column.factor, (cost * column.factor,) * 2)
    score = outcome.score(name, key)
    if score is None:
        return None
    low, high = score.interval or (score.value, score.value)
    value = score.value * column.factor
    return Point(value, (min(value, low * column.factor), max(value, high * column.factor)))


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(text, 22))


def _in_columns(texts: Sequence[str], count: int) -> str:
    lines = -(-len(texts) // count)
    width = max(map(len, texts)) + 3
    return "\n".join(
        "".join(text.ljust(width) for text in texts[line::lines]).rstrip() for line in range(lines)
    )
