"""An explanation as one picture: image = map + map + ... + bias, and what each part looks like."""

from __future__ import annotations

import io
import textwrap
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from PIL import Image

from ppn.report.explanation import AMPLIFY
from ppn.report.heatmap import crop_patch, overlay
from ppn.report.images import CONTEXT, fit
from ppn.report.numbers import number, percent, printed_sum, short
from ppn.report.palette import identity_colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ppn.report.content import Sample

_DPI = 200
_TILE = 1.5  # inches
_GAP = 0.42
_MARGIN = 0.35
_PER_ROW = 5
_INK = "#16181d"
_SOFT = "#5c6370"
_PAPER = "#fbfaf7"


def draw(sample: Sample, exactness: str) -> Image.Image:
    """Draw an explained image.

    Args:
        sample: The image and its parts.
        exactness: What is exact about them, printed below.

    Returns:
        RGB picture; up to five parts in a row.
    """
    k = len(sample.contributions)
    columns = min(k, _PER_ROW)
    rows = -(-k // _PER_ROW)
    patched = bool(sample.looks_like)
    row_height = _TILE + 0.62 + (_TILE * 0.8 + 0.5 if patched else 0.0)
    head, foot = 0.75, 0.75
    width = 2 * _MARGIN + (columns + 2) * _TILE + (columns + 1) * _GAP
    height = head + rows * row_height + foot
    figure = Figure(figsize=(width, height), dpi=_DPI, facecolor=_PAPER)
    page = figure.add_axes((0, 0, 1, 1))
    page.axis("off")

    terms = [*sample.contributions, sample.bias]
    size = max(abs(value) for value in (*terms, sample.logit))
    exact = abs(sample.residual) <= 1e-4 * max(size, 1e-12)
    texts, total = printed_sum(terms, sample.logit, exact)
    page.text(
        _MARGIN, 0.42, sample.predicted_class, size=15, weight="bold", color=_INK, va="center"
    )
    verdict = f"predicted with {percent(sample.probability, 1)}"
    page.text(width - _MARGIN, 0.42, verdict, size=9, color=_SOFT, ha="right", va="center")

    _tile(page, sample.image, _MARGIN, head, _TILE, None)
    _caption(page, _MARGIN, head + _TILE, total, "logit", _INK)
    if patched:
        page.text(
            _MARGIN,
            head + _TILE + 0.62 + _TILE * 0.4,
            "looks like\nthis training\npatch",
            size=9,
            color=_SOFT,
            va="center",
            linespacing=1.4,
        )
    top = max((float(np.nanmax(np.abs(m), initial=0.0)) for m in sample.maps), default=0.0)
    for index in range(k):
        row, column = divmod(index, _PER_ROW)
        x = _MARGIN + (column + 1) * (_TILE + _GAP)
        y = head + row * row_height
        sign = ("=" if index == 0 else "+") if not texts[index].startswith("\N{MINUS SIGN}") else (
            "= \N{MINUS SIGN}" if index == 0 else "\N{MINUS SIGN}"
        )
        page.text(x - _GAP / 2, y + _TILE / 2, sign, size=15, color=_SOFT, ha="center", va="center")
        _part(page, sample, index, texts[index], (x, y), top)
    x = _MARGIN + (columns + 1) * (_TILE + _GAP)
    y = head + (rows - 1) * row_height
    minus = texts[-1].startswith("\N{MINUS SIGN}")
    page.text(
        x - _GAP / 2,
        y + _TILE / 2,
        "\N{MINUS SIGN}" if minus else "+",
        size=15,
        color=_SOFT,
        ha="center",
        va="center",
    )
    box = FancyBboxPatch(
        (x + 0.04, y + 0.04),
        _TILE * 0.6,
        _TILE - 0.08,
        boxstyle="round,pad=0,rounding_size=0.07",
        fill=False,
        edgecolor="#c9ccd1",
        linestyle=(0, (3, 3)),
        linewidth=0.8,
    )
    page.add_patch(box)
    page.text(
        x + 0.04 + _TILE * 0.3,
        y + _TILE / 2,
        "a\nconstant",
        size=8,
        color=_SOFT,
        ha="center",
        va="center",
    )
    _caption(page, x + 0.04, y + _TILE, texts[-1].lstrip("+\N{MINUS SIGN}"), "bias", _INK)

    sentences = [exactness]
    if exact:
        sentences.append(
            "Parts and bias add up to the black box's own logit; the difference is "
            f"{number(abs(sample.residual))}."
        )
    else:
        sentences.append(
            f"The parts do not add up: they miss the logit by {number(abs(sample.residual))}."
        )
    note = textwrap.fill(" ".join(filter(None, sentences)), int((width - 2 * _MARGIN) * 15.5))
    page.text(_MARGIN, height - 0.3, note, size=7.5, color=_SOFT, va="bottom", linespacing=1.5)
    page.set(xlim=(0, width), ylim=(height, 0))  # last: images would move them
    return _render(figure)


def _part(
    page: Axes, sample: Sample, index: int, text: str, corner: tuple[float, float], top: float
) -> None:
    """One prototype: its map on the image, what it adds, and its nearest training patch."""
    x, y = corner
    colour = identity_colour(index)
    # The number says how much; the map says where, and so has a scale of its own, within limits.
    own = float(np.nanmax(np.abs(sample.maps[index]), initial=0.0))
    pixels = fit(sample.image, round(_TILE * _DPI))
    heat = overlay(sample.image, sample.maps[index], pixels, max(own, top / AMPLIFY), colour)
    _tile(page, heat, x, y, _TILE, colour)
    label = f"Part {index + 1}"
    _caption(page, x, y + _TILE, text.lstrip("+\N{MINUS SIGN}"), label, colour)
    if sample.looks_like:
        patch = sample.looks_like[index]
        y += _TILE + 0.62
        _tile(page, crop_patch(patch.image, patch.box, CONTEXT), x, y, _TILE * 0.8, colour)
        name = short(patch.name, 20)
        page.text(x, y + _TILE * 0.8 + 0.13, name, size=6.5, color=_SOFT, va="center")


def _tile(
    page: Axes, image: Image.Image, x: float, y: float, side: float, colour: str | None
) -> None:
    """An image with round corners inside a square."""
    width, height = (value * side / max(image.size) for value in image.size)
    left, upper = x + (side - width) / 2, y + (side - height) / 2
    shape = FancyBboxPatch(
        (left, upper),
        width,
        height,
        boxstyle="round,pad=0,rounding_size=0.07",
        fill=False,
        edgecolor=colour or "none",
        linewidth=1.6 if colour else 0,
    )
    page.add_patch(shape)
    shown = page.imshow(
        np.asarray(image.convert("RGB")),
        extent=(left, left + width, upper + height, upper),
        interpolation="lanczos",
        aspect="auto",
    )
    shown.set_clip_path(shape)


def _caption(page: Axes, x: float, y: float, value: str, label: str, colour: str) -> None:
    page.text(x, y + 0.2, value, size=13, weight="bold", color=_INK, va="center")
    if colour != _INK:
        page.plot([x + 0.04], [y + 0.43], "o", color=colour, markersize=4)
        x += 0.13
    page.text(x, y + 0.43, label, size=8, color=_SOFT, va="center")


def _render(figure: Figure) -> Image.Image:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor=_PAPER)
    buffer.seek(0)
    return Image.open(buffer).convert("RGB")
