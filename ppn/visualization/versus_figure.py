"""Two classes of one image as one picture: part against part, with what sets them apart."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ppn.visualization.figure import (
    DPI,
    FAINT,
    INK,
    PAPER,
    SOFT,
    content_of,
    tile,
    write,
)
from ppn.visualization.heatmap import crop_patch, overlay, scale_tops
from ppn.visualization.images import CONTEXT, fit
from ppn.visualization.numbers import short
from ppn.visualization.palette import identity_colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ppn.explanation.record import Explanation
    from ppn.explanation.versus import Versus

# Inches.
_WIDTH = 11.0
_MARGIN = 0.35
_HEAD = 2.35
_TILE = 1.15
_ROW = 1.5
_BAR = 1.45
"""Half of the room for bars of differences."""
_MIDDLE = _WIDTH / 2
_INNER = (_MIDDLE - _BAR - 0.15, _MIDDLE + _BAR + 0.15)
"""Where the texts of the two classes end and begin."""
_PLUS, _MINUS = "#2b6cde", "#c2410c"


def draw(versus: Versus, kind: str) -> bytes:
    """Draw the parts of two classes in rows, the first class on the left.

    Args:
        versus: The two explanations.
        kind: Format that matplotlib writes, such as "png" or "svg".

    Returns:
        The content of a file.
    """
    pairs = versus.pairs
    mine, theirs, apart = versus.printed
    note = textwrap.wrap(" ".join(versus.notes), int((_WIDTH - 2 * _MARGIN) * 15.5))
    height = _HEAD + len(pairs) * _ROW + 1.15 + 0.17 * len(note)
    figure = Figure(figsize=(_WIDTH, height), dpi=DPI, facecolor=PAPER)
    page = figure.add_axes((0, 0, 1, 1))
    page.axis("off")
    _head(page, versus)
    gaps = (*(pair.difference for pair in pairs), versus.bias, versus.difference)
    scale = max(map(abs, gaps)) or 1.0
    tops = scale_tops(versus.first.maps), scale_tops(versus.second.maps)
    for row, pair in enumerate(pairs):
        y = _HEAD + row * _ROW
        _part(page, versus.first, pair.first, tops[0], mine[row], y, left=True)
        _part(page, versus.second, pair.second, tops[1], theirs[row], y, left=False)
        _bar(page, y + _TILE / 2, pair.difference / scale, apart[row])
    y = _HEAD + len(pairs) * _ROW + 0.12
    for index, (words, value) in enumerate((("bias", versus.bias), ("logit", versus.difference))):
        line = y + 0.36 * index
        style: dict[str, Any] = {"size": 13 if index else 10, "weight": "bold", "color": INK}
        for x, align, side in zip(_INNER, ("right", "left"), (mine, theirs), strict=True):
            told = side[-1].removeprefix("+") if index else side[-2]
            write(page, x, line, f"{words} {told}", ha=align, **style)
        weight = "bold" if index else "normal"
        _bar(page, line, value / scale, apart[-2 + index], 0.09, weight)
    write(
        page, _MARGIN, height - 0.25, "\n".join(note), size=7.5, color=SOFT, va="bottom",
        linespacing=1.5,
    )  # fmt: skip
    page.set(xlim=(0, _WIDTH), ylim=(height, 0))  # last: images move them
    return content_of(figure, kind)


def _head(page: Axes, versus: Versus) -> None:
    first, second = (
        textwrap.shorten(side.class_name, 36, placeholder="\N{HORIZONTAL ELLIPSIS}")
        for side in (versus.first, versus.second)
    )
    side = _HEAD - 0.95
    tile(page, versus.first.image, (_MIDDLE - side / 2, 0.6), side)
    title = f"Why {first} and not {second}?"
    write(page, _MIDDLE, 0.3, title, size=14, weight="bold", color=INK, ha="center")
    for x, name, align, given in (
        (_INNER[0], first, "right", versus.first),
        (_INNER[1], second, "left", versus.second),
    ):
        write(page, x, _HEAD - 0.52, name, size=12, weight="bold", color=INK, ha=align)
        told = given.verdict
        if given.true_class:
            told += "; true class" if given.true_class == given.class_name else "; wrong"
        words = textwrap.shorten(told, 52, placeholder="\N{HORIZONTAL ELLIPSIS}")
        write(page, x, _HEAD - 0.28, words, size=8.5, color=SOFT, ha=align)


def _part(
    page: Axes,
    side: Explanation,
    index: int,
    tops: list[float],
    printed: str,
    y: float,
    left: bool,
) -> None:
    """One part: its patch outside, its map inside, and its contribution next to the bar."""
    colour = identity_colour(index)
    x = _MARGIN if left else _WIDTH - _MARGIN - _TILE
    step = (_TILE + 0.12) * (1 if left else -1)
    pixels = fit(side.image, round(_TILE * DPI))
    patch = side.patches[index]
    if patch is not None and side.carries[index]:
        tile(page, crop_patch(patch.image, patch.box, CONTEXT), (x, y), _TILE, colour)
        write(
            page, x + _TILE / 2, y + _TILE + 0.12, f"like {short(patch.name, 18)}", size=6.5,
            color=SOFT, ha="center",
        )  # fmt: skip
    heat = overlay(side.image, side.maps[index], pixels, tops[index], colour)
    tile(page, heat, (x + step, y), _TILE, colour)
    inner, align = (_INNER[0], "right") if left else (_INNER[1], "left")
    middle = y + _TILE / 2
    write(page, inner, middle - 0.1, printed, size=13, weight="bold", color=INK, ha=align)
    write(page, inner, middle + 0.16, side.titles[index], size=8, color=SOFT, ha=align)


def _bar(
    page: Axes, y: float, share: float, printed: str, half: float = 0.13, weight: str = "bold"
) -> None:
    """A bar to the left for what speaks for the first class, to the right for the second."""
    length = -share * (_BAR - 0.6)
    page.plot([_MIDDLE, _MIDDLE], [y - half - 0.06, y + half + 0.06], color=FAINT, linewidth=1)
    page.add_patch(
        Rectangle(
            (min(_MIDDLE, _MIDDLE + length), y - half), abs(length), 2 * half,
            color=_PLUS if share >= 0 else _MINUS, linewidth=0,
        )
    )  # fmt: skip
    x = _MIDDLE + length + (-0.07 if share >= 0 else 0.07)
    align = "right" if share >= 0 else "left"
    write(page, x, y, printed, size=9, weight=weight, color=INK, ha=align)
