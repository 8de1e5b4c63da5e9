"""An explanation as one picture: image = map + map + ... + bias, and what each part looks like."""

from __future__ import annotations

import io
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from ppn.visualization.heatmap import crop_patch, overlay, scale_tops
from ppn.visualization.images import CONTEXT, fit
from ppn.visualization.numbers import MINUS, number, percent, printed_sum, short
from ppn.visualization.palette import identity_colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from PIL import Image

    from ppn.explanation.record import Explanation

# Inches.
_TILE = 1.5
_PATCH = 1.2
_GAP = 0.42
_MARGIN = 0.35
_HEAD = 0.75
_CAPTION = 0.62
_NAME = 0.5
_TERMS = 0.26
DPI = 200
_PER_ROW = 5
_TITLE = 22  # letters of a part's name
_CAUTION = "#b3203b"
_BAD = "#a3341f"
INK = "#16181d"
SOFT = "#5c6370"
FAINT = "#c9ccd1"
PAPER = "#fbfaf7"
# Else the same explanation gives another file every second.
_UNDATED: dict[str, dict[str, None]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
_COMPRESSION = 4  # half the time of the default, and 4 % more bytes


def draw(explanation: Explanation, kind: str) -> bytes:
    """Draw an explained image, up to five parts in a row.

    Args:
        explanation: The explained image.
        kind: Format that matplotlib writes, such as "png" or "svg".

    Returns:
        The content of a file.
    """
    # What was removed is told in the notes; a part that is there stays, whatever it adds.
    order = [i for i in explanation.order if explanation.contributions[i] or not explanation.edits]
    columns, rows = max(1, min(len(order), _PER_ROW)), max(1, -(-len(order) // _PER_ROW))
    patches = any(explanation.patches)
    caption = _CAPTION + (_TERMS if explanation.terms else 0.0)
    lower = [bool(explanation.agreements), patches]
    row_height = _TILE + caption + sum(lower) * (_PATCH + _NAME)
    terms = [*(explanation.contributions[index] for index in order), explanation.bias]
    texts, total = printed_sum(terms, explanation.logit, explanation.adds_up)
    equals = "=" if explanation.adds_up else "\N{NOT EQUAL TO}"

    width = 2 * _MARGIN + (columns + 2) * _TILE + (columns + 1) * _GAP
    note = textwrap.wrap(" ".join(explanation.notes), int((width - 2 * _MARGIN) * 15.5))
    caution = textwrap.wrap(explanation.caution, int((width - 2 * _MARGIN) * 13))
    height = _HEAD + rows * row_height + 0.35 + 0.17 * len(note) + 0.2 * len(caution)
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor=PAPER)
    page = figure.add_axes((0, 0, 1, 1))
    page.axis("off")

    _title(page, explanation.class_name, explanation.verdict, width)
    tile(page, explanation.image, (_MARGIN, _HEAD), _TILE)
    _caption(page, (_MARGIN, _HEAD + _TILE), total, "logit")
    words = ["the same part\nby cells", "looks like\nthis training\npatch"]
    for place, said in enumerate(said for said, there in zip(words, lower, strict=True) if there):
        y = _HEAD + _TILE + caption + place * (_PATCH + _NAME) + _PATCH / 2
        write(page, _MARGIN, y, said, size=9, color=SOFT, linespacing=1.4)
    tops = scale_tops(explanation.drawn)
    for place, index in enumerate(order):
        row, column = divmod(place, _PER_ROW)
        corner = (_MARGIN + (column + 1) * (_TILE + _GAP), _HEAD + row * row_height)
        _sign(page, corner, texts[place], "" if place else equals)
        _part(page, explanation, index, corner, texts[place], tops[index], first=place == 0)
    corner = (_MARGIN + (columns + 1) * (_TILE + _GAP), _HEAD + (rows - 1) * row_height)
    _sign(page, corner, texts[-1], "" if order else equals)
    _constant(page, corner)
    _caption(page, corner, texts[-1], "bias", below=_TILE, signed=not order)
    write(
        page,
        _MARGIN,
        height - 0.25,
        "\n".join(note),
        size=7.5,
        color=SOFT,
        va="bottom",
        linespacing=1.5,
    )
    if caution:
        y = height - 0.35 - 0.17 * len(note)
        write(
            page, _MARGIN, y, "\n".join(caution), size=9, color=_CAUTION, va="bottom", weight="bold"
        )
    page.set(xlim=(0, width), ylim=(height, 0))  # last: images move them
    return content_of(figure, kind)


def content_of(figure: Figure, kind: str) -> bytes:
    """Return the content of a figure's file; the same figure always gives the same.

    Args:
        figure: A figure.
        kind: Format that matplotlib writes, such as "png" or "svg".
    """
    buffer = io.BytesIO()
    png: dict[str, Any] = {"pil_kwargs": {"compress_level": _COMPRESSION}} if kind == "png" else {}
    figure.savefig(buffer, format=kind, facecolor=PAPER, metadata=_UNDATED.get(kind), **png)
    return buffer.getvalue()


def _title(page: Axes, name: str, verdict: str, width: float) -> None:
    """Name and verdict beside each other where there is room for both, else below each other."""
    room = (width - 2 * _MARGIN) * 7.2 - 0.6 * len(verdict)
    name = textwrap.shorten(name, max(12, int((width - 2 * _MARGIN) * 7)), placeholder="\u2026")
    if len(name) <= room:
        write(page, _MARGIN, 0.42, name, size=15, weight="bold", color=INK)
        write(page, width - _MARGIN, 0.42, verdict, size=9, color=SOFT, ha="right")
    else:
        write(page, _MARGIN, 0.28, name, size=15, weight="bold", color=INK)
        write(page, _MARGIN, 0.56, verdict, size=9, color=SOFT)


def _part(
    page: Axes,
    explanation: Explanation,
    index: int,
    corner: tuple[float, float],
    text: str,
    top: float,
    first: bool,
) -> None:
    """One prototype: its map on the image, what it adds, and its nearest training patch."""
    x, y = corner
    colour = identity_colour(index)
    pixels = fit(explanation.image, round(_TILE * DPI))
    heat = overlay(explanation.image, explanation.drawn[index], pixels, top, colour)
    tile(page, heat, corner, _TILE, colour)
    title = explanation.titles[index]
    title = title if len(title) <= _TITLE else f"{title[: _TITLE - 1]}\u2026"
    _caption(page, (x, y + _TILE), text, title, colour, signed=first)
    y += _TILE + _CAPTION
    terms = explanation.terms
    if terms is not None:
        write(page, x, y - 0.02, f"baseline {number(terms.baseline[index])}", size=6.5, color=SOFT)
        if terms.leaks(explanation.contributions):
            said = f"without a place {number(terms.elsewhere[index])}"
            write(page, x, y + 0.13, said, size=6.5, color=SOFT)
        y += _TERMS
    if terms is not None and explanation.agreements:
        highest = scale_tops(terms.cells)[index]
        cells = overlay(explanation.image, terms.cells[index], pixels, highest, colour)
        tile(page, cells, (x, y), _PATCH, colour)
        found = explanation.agreements[index]
        said = f"{percent(found.inside)} of the attribution\nin {percent(found.area)} of the image"
        said = found.sentence if found.inside is None else said
        said += "" if found.agrees else ": disagrees"
        write(page, x, y + _PATCH + 0.19, said, size=6.5, color=SOFT if found.agrees else _BAD)
        y += _PATCH + _NAME
    patch = explanation.patches[index]
    if patch is not None and explanation.carries[index]:
        tile(page, crop_patch(patch.image, patch.box, CONTEXT), (x, y), _PATCH, colour)
        write(page, x, y + _PATCH + 0.13, short(patch.name, 20), size=6.5, color=SOFT)


def tile(
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
    frame = _frame((corner[0], corner[1] + 0.04), width, _TILE - 0.08, FAINT, 0.8)
    frame.set_linestyle((0, (3, 3)))
    page.add_patch(frame)
    x, y = corner[0] + width / 2, corner[1] + _TILE / 2
    write(page, x, y, "a\nconstant", size=8, color=SOFT, ha="center")


def _frame(
    corner: tuple[float, float], width: float, height: float, colour: str, line: float
) -> FancyBboxPatch:
    style = "round,pad=0,rounding_size=0.07"
    return FancyBboxPatch(
        corner, width, height, boxstyle=style, fill=False, edgecolor=colour, linewidth=line
    )


def _sign(page: Axes, corner: tuple[float, float], text: str, equals: str = "") -> None:
    """What stands before a term: `equals` for the first, whose number keeps its own sign."""
    sign = equals or (MINUS if text.startswith(MINUS) else "+")
    x, y = corner[0] - _GAP / 2, corner[1] + _TILE / 2
    write(page, x, y, sign, size=15, color=SOFT, ha="center")


def _caption(
    page: Axes,
    corner: tuple[float, float],
    value: str,
    label: str,
    colour: str | None = None,
    below: float = 0.0,
    signed: bool = False,
) -> None:
    x, y = corner[0], corner[1] + below
    # The sign stands before the picture; the logit, which has none there, keeps its own.
    value = value.lstrip("+") if label == "logit" or signed else value.lstrip("+" + MINUS)
    write(page, x, y + 0.2, value, size=13, weight="bold", color=INK)
    if colour is not None:
        page.plot([x + 0.04], [y + 0.43], "o", color=colour, markersize=4)
        x += 0.13
    write(page, x, y + 0.43, label, size=8, color=SOFT)


def write(page: Axes, x: float, y: float, text: str, **style: Any) -> None:
    """Text centred on its height; a dollar sign in is not a formula."""
    page.text(x, y, text, **{"va": "center", **style}, parse_math=False)
