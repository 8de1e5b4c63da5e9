"""An explanation as one picture: image = map + map + ... + bias, and what each part looks like."""

from __future__ import annotations

import io
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from PIL import Image

from ppn.report.samples import AMPLIFY
from ppn.visualization.heatmap import crop_patch, overlay
from ppn.visualization.images import CONTEXT, fit
from ppn.visualization.numbers import MINUS, number, printed_sum, short
from ppn.visualization.palette import identity_colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ppn.report.content import Sample

# Inches.
_TILE = 1.5
_PATCH = 1.2
_GAP = 0.42
_MARGIN = 0.35
_HEAD = 0.75
_CAPTION = 0.62
_NAME = 0.5
_DPI = 200
_PER_ROW = 5
_INK = "#16181d"
_SOFT = "#5c6370"
_FAINT = "#c9ccd1"
_PAPER = "#fbfaf7"


def draw(sample: Sample, verdict: str, exactness: str) -> Image.Image:
    """Draw an explained image as an RGB picture; see `figure_of`."""
    return _render(figure_of(sample, verdict, exactness))


def figure_of(sample: Sample, verdict: str, exactness: str) -> Figure:
    """Draw an explained image.

    Args:
        sample: The image and its parts.
        verdict: How likely the class is, printed beside its name.
        exactness: What is exact about the parts, printed below.

    Returns:
        The figure; up to five parts in a row.
    """
    k = len(sample.contributions)
    columns, rows = min(k, _PER_ROW), -(-k // _PER_ROW)
    row_height = _TILE + _CAPTION + (_PATCH + _NAME if sample.looks_like else 0.0)
    terms = [*sample.contributions, sample.bias]
    largest = max(abs(value) for value in (*terms, sample.logit))
    exact = abs(sample.residual) <= 1e-4 * max(largest, 1e-12)
    texts, total = printed_sum(terms, sample.logit, exact)

    width = 2 * _MARGIN + (columns + 2) * _TILE + (columns + 1) * _GAP
    note = textwrap.wrap(_note(sample, exactness, exact), int((width - 2 * _MARGIN) * 15.5))
    height = _HEAD + rows * row_height + 0.35 + 0.17 * len(note)
    figure = Figure(figsize=(width, height), dpi=_DPI, facecolor=_PAPER)
    page = figure.add_axes((0, 0, 1, 1))
    page.axis("off")

    _title(page, sample.predicted_class, verdict, width)
    _tile(page, sample.image, (_MARGIN, _HEAD), _TILE)
    _caption(page, (_MARGIN, _HEAD + _TILE), total, "logit")
    if sample.looks_like:
        y = _HEAD + _TILE + _CAPTION + _PATCH / 2
        words = "looks like\nthis training\npatch"
        _text(page, _MARGIN, y, words, size=9, color=_SOFT, linespacing=1.4)
    top = max(float(np.nanmax(np.abs(grid), initial=0.0)) for grid in sample.maps)
    for index in range(k):
        row, column = divmod(index, _PER_ROW)
        corner = (_MARGIN + (column + 1) * (_TILE + _GAP), _HEAD + row * row_height)
        _sign(page, corner, texts[index], first=index == 0)
        _part(page, sample, index, corner, texts[index], top)
    corner = (_MARGIN + (columns + 1) * (_TILE + _GAP), _HEAD + (rows - 1) * row_height)
    _sign(page, corner, texts[-1])
    _constant(page, corner)
    _caption(page, corner, texts[-1], "bias", below=_TILE)
    _text(
        page,
        _MARGIN,
        height - 0.25,
        "\n".join(note),
        size=7.5,
        color=_SOFT,
        va="bottom",
        linespacing=1.5,
    )
    page.set(xlim=(0, width), ylim=(height, 0))  # last: images move them
    return figure


def _note(sample: Sample, exactness: str, exact: bool) -> str:
    gap = number(abs(sample.residual))
    if exact:
        check = f"Parts and bias add up to the black box's own logit; the difference is {gap}."
    else:
        check = f"The parts do not add up: they miss the black box's logit by {gap}."
    return " ".join(filter(None, (exactness, check, sample.scale_note)))


def _title(page: Axes, name: str, verdict: str, width: float) -> None:
    """Name and verdict beside each other where there is room for both, else below each other."""
    room = (width - 2 * _MARGIN) * 7.2 - 0.6 * len(verdict)
    name = textwrap.shorten(name, max(12, int((width - 2 * _MARGIN) * 7)), placeholder="\u2026")
    if len(name) <= room:
        _text(page, _MARGIN, 0.42, name, size=15, weight="bold", color=_INK)
        _text(page, width - _MARGIN, 0.42, verdict, size=9, color=_SOFT, ha="right")
    else:
        _text(page, _MARGIN, 0.28, name, size=15, weight="bold", color=_INK)
        _text(page, _MARGIN, 0.56, verdict, size=9, color=_SOFT)


def _part(
    page: Axes, sample: Sample, index: int, corner: tuple[float, float], text: str, top: float
) -> None:
    """One prototype: its map on the image, what it adds, and its nearest training patch."""
    x, y = corner
    colour = identity_colour(index)
    # The number says how much; the map says where, and so has a scale of its own, within limits.
    own = float(np.nanmax(np.abs(sample.maps[index]), initial=0.0))
    pixels = fit(sample.image, round(_TILE * _DPI))
    heat = overlay(sample.image, sample.maps[index], pixels, max(own, top / AMPLIFY), colour)
    _tile(page, heat, corner, _TILE, colour)
    _caption(page, (x, y + _TILE), text, f"Part {index + 1}", colour)
    if sample.looks_like:
        patch = sample.looks_like[index]
        y += _TILE + _CAPTION
        _tile(page, crop_patch(patch.image, patch.box, CONTEXT), (x, y), _PATCH, colour)
        _text(page, x, y + _PATCH + 0.13, short(patch.name, 20), size=6.5, color=_SOFT)


def _tile(
    page: Axes,
    image: Image.Image,
    corner: tuple[float, float],
    side: float,
    colour: str | None = None,
) -> None:
    """An image with round corners inside a square."""
    width, height = (value * side / max(image.size) for value in image.size)
    left, upper = corner[0] + (side - width) / 2, corner[1] + (side - height) / 2
    frame = _frame((left, upper), width, height, colour or "none", 1.6 if colour else 0.0)
    page.add_patch(frame)
    shown = page.imshow(
        np.asarray(image.convert("RGB")),
        extent=(left, left + width, upper + height, upper),
        interpolation="lanczos",
        aspect="auto",
    )
    shown.set_clip_path(frame)


def _constant(page: Axes, corner: tuple[float, float]) -> None:
    """What stands in the place of a map for the bias."""
    width = 0.6 * _TILE
    frame = _frame((corner[0], corner[1] + 0.04), width, _TILE - 0.08, _FAINT, 0.8)
    frame.set_linestyle((0, (3, 3)))
    page.add_patch(frame)
    x, y = corner[0] + width / 2, corner[1] + _TILE / 2
    _text(page, x, y, "a\nconstant", size=8, color=_SOFT, ha="center")


def _frame(
    corner: tuple[float, float], width: float, height: float, colour: str, line: float
) -> FancyBboxPatch:
    style = "round,pad=0,rounding_size=0.07"
    return FancyBboxPatch(
        corner, width, height, boxstyle=style, fill=False, edgecolor=colour, linewidth=line
    )


def _sign(page: Axes, corner: tuple[float, float], text: str, first: bool = False) -> None:
    """What stands before a term: its sign, after an equals sign for the first."""
    minus = text.startswith(MINUS)
    sign = ("=" + minus * MINUS) if first else (MINUS if minus else "+")
    x, y = corner[0] - _GAP / 2, corner[1] + _TILE / 2
    _text(page, x, y, sign, size=15, color=_SOFT, ha="center")


def _caption(
    page: Axes,
    corner: tuple[float, float],
    value: str,
    label: str,
    colour: str | None = None,
    below: float = 0.0,
) -> None:
    x, y = corner[0], corner[1] + below
    # The sign stands before the picture; the logit, which has none there, keeps its own.
    value = value if label == "logit" else value.lstrip("+" + MINUS)
    _text(page, x, y + 0.2, value, size=13, weight="bold", color=_INK)
    if colour is not None:
        page.plot([x + 0.04], [y + 0.43], "o", color=colour, markersize=4)
        x += 0.13
    _text(page, x, y + 0.43, label, size=8, color=_SOFT)


def _text(page: Axes, x: float, y: float, text: str, **style: Any) -> None:
    """Text centred on its height; a dollar sign in it is no formula."""
    page.text(x, y, text, **{"va": "center", **style}, parse_math=False)


def _render(figure: Figure) -> Image.Image:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor=_PAPER)
    buffer.seek(0)
    return Image.open(buffer).convert("RGB")
