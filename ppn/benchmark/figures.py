"""What a benchmark has found, as pictures: scores, trade-offs, ranks and critical differences."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, NamedTuple

from matplotlib.figure import Figure

from ppn.benchmark.tables import COST, chosen
from ppn.metrics.ranks import alike
from ppn.report.columns import Column, metric_columns
from ppn.visualization.palette import identity_colour
from ppn.visualization.plots import CHANCE, GRID, INK, horizontal, save, style

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from ppn.benchmark.results import Ends, Outcome
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


def critical_difference(labels: Sequence[str], ranked: Ranking, title: str) -> Figure:
    """Draw mean ranks on a line; bars join explainers that cannot be told apart (Demšar 2006).

    Args:
        labels: Name of each explainer.
        ranked: Their ranks.
        title: What they are ranked by.
    """
    order = sorted(range(len(labels)), key=lambda i: ranked.mean[i].mean)
    half = (len(order) + 1) // 2
    runs = alike(ranked)
    top, step, least = 1.0 + 0.22 * len(runs), 0.42, 1.0
    last = float(len(labels))
    height = 1.1 + 0.22 * len(runs) + step * half * 0.5
    figure = Figure(figsize=(7.0, max(1.6, height)))
    axes = figure.subplots()
    axes.set_axis_off()
    axes.plot([least, last], [0, 0], color=INK, linewidth=1)
    for tick in range(1, len(labels) + 1):
        axes.plot([tick, tick], [0, 0.12], color=INK, linewidth=1)
        if len(labels) <= 16 or tick % 2:
            axes.text(tick, 0.2, str(tick), ha="center", va="bottom", fontsize=8)
    room = 0.03 * (last - least)
    for place, index in enumerate(order):
        rank = ranked.mean[index].mean
        left = place < half
        row = place if left else len(order) - 1 - place
        depth = -(top + step * row)
        side = least - room if left else last + room
        axes.plot([rank, rank, side], [0, depth, depth], color=INK, linewidth=0.8)
        text = f"{labels[index]}  {rank:.2f}" if left else f"{rank:.2f}  {labels[index]}"
        axes.text(
            *(side - room / 2 if left else side + room / 2, depth, text),
            ha="right" if left else "left",
            va="center",
            fontsize=8,
        )
    for number, (start, end) in enumerate(runs):
        ends = [ranked.mean[order[place]].mean for place in (start, end)]
        level = -(0.35 + 0.22 * number)
        axes.plot(
            [ends[0] - room / 3, ends[1] + room / 3],
            [level, level],
            color=identity_colour(0),
            linewidth=3,
            solid_capstyle="butt",
        )
    width = ranked.critical_difference
    shown = min(width, last - least)
    axes.plot([least, least + shown], [1.0, 1.0], color=INK, linewidth=1.5)
    for end in (least, least + shown):
        axes.plot([end, end], [0.9, 1.1], color=INK, linewidth=1.5)
    cut = "" if shown == width else ", longer than the axis"
    axes.text(
        *(
            least,
            1.2,
            f"critical difference {width:.2f} (Nemenyi, 5 %{cut}; {len(ranked.ranks)} classes)",
        ),
        va="bottom",
        fontsize=8,
    )
    axes.set_title(f"{title}: mean rank", loc="left", fontsize=10)
    axes.set_ylim(-(top + step * half), 1.9)
    figure.set_layout_engine("constrained")
    return figure


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
        axes.set_xlabel(_wrapped(column.title))
        horizontal(axes, [outcome.measured.explainers[name].label for name in names])
    figure.set_layout_engine("constrained")
    return figure


def _trade_offs(outcome: Outcome, metrics: Sequence[MeasuredMetric]) -> Figure:
    """The first metric against each other one, and against the cost of an explanation."""
    first, *others = metrics
    columns = metric_columns(metrics)
    axis = {metric.key: columns[metric.key] for metric in others} | {_COST: COST[_COST]}
    across = min(3, len(axis))
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
    """One colour for each module of methods: those of one family look alike."""
    if explainer.kind == "floor":
        return CHANCE
    if explainer.kind != "method":
        return INK
    families = [type(one) for one in outcome.benchmark.explainers if one.kind == "method"]
    own = next(type(one) for one in outcome.benchmark.explainers if one.name == explainer.name)
    return identity_colour(list(dict.fromkeys(families)).index(own))


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
