"""The diagram of critical differences (Demšar, JMLR 2006, figure 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from ppn.metrics.ranks import alike
from ppn.visualization.palette import identity_colour
from ppn.visualization.plots import INK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ppn.metrics.ranks import Ranking

_AXIS, _LINE, _BAR, _LETTER, _CLOSE = 3.6, 0.17, 0.09, 0.068, 0.2
"""Inches of a diagram of critical differences: the axis, from name to name, from bar to bar, a
letter of a name, and the least distance of numbers."""


def critical_difference(labels: Sequence[str], ranked: Ranking, title: str) -> Figure:
    """Draw mean ranks on a line; bars join explainers that cannot be told apart (Demšar 2006).

    Args:
        labels: Name of each explainer.
        ranked: Their ranks.
        title: What they are ranked by.
    """
    order = sorted(range(len(labels)), key=lambda i: ranked.mean[i].mean)
    half, runs = (len(order) + 1) // 2, alike(ranked)
    # In inches: the axis runs from 0 to _AXIS, names are beside it and below.
    room = 0.5 + _LETTER * max(map(len, labels))
    below, above = 0.45 + _BAR * len(runs) + _LINE * half, 0.95
    figure = Figure(figsize=(_AXIS + 2 * room, below + above))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(-room, _AXIS + room)
    axes.set_ylim(-below, above)
    scale = _AXIS / max(1, len(labels) - 1)

    def at(rank: float) -> float:
        return (rank - 1) * scale

    axes.plot([0, _AXIS], [0, 0], color=INK, linewidth=1)
    for tick in range(1, len(labels) + 1):
        axes.plot([at(tick)] * 2, [0, 0.05], color=INK, linewidth=1)
        if scale >= _CLOSE or tick % 5 == 0 or tick == 1:
            axes.text(at(tick), 0.08, str(tick), ha="center", va="bottom", fontsize=8)
    for place, index in enumerate(order):
        rank, left = ranked.mean[index].mean, place < half
        row = place if left else len(order) - 1 - place
        depth = -(0.3 + _BAR * len(runs) + _LINE * row)
        side = -0.1 if left else _AXIS + 0.1
        axes.plot([at(rank), at(rank), side], [0, depth, depth], color=INK, linewidth=0.7)
        texts = (labels[index], f"{rank:.2f}") if left else (f"{rank:.2f}", labels[index])
        beside = side - 0.05 if left else side + 0.05
        aligned = "right" if left else "left"
        axes.text(beside, depth, "  ".join(texts), ha=aligned, va="center", fontsize=8)
    for number, ends in enumerate(runs):
        first, last = (at(ranked.mean[order[place]].mean) for place in ends)
        level = -(0.12 + _BAR * number)
        axes.plot(
            [first - 0.04, last + 0.04],
            [level, level],
            color=identity_colour(0),
            linewidth=3,
            solid_capstyle="butt",
        )
    width = ranked.critical_difference * scale
    shown = min(width, _AXIS)
    axes.plot([0, shown], [0.42, 0.42], color=INK, linewidth=1.5)
    for end in (0, shown):
        axes.plot([end, end], [0.38, 0.46], color=INK, linewidth=1.5)
    more = "" if shown == width else ", more than there are ranks"
    told = f"critical difference {ranked.critical_difference:.2f}{more}"
    axes.text(0, 0.5, f"{told} (Nemenyi, 5 %, {len(ranked.ranks)} classes)", fontsize=8)
    axes.text(0, 0.74, f"Mean rank: {title}", fontsize=10)
    return figure
