"""Annotated images on one sheet: an even grid, names below, a legend at the bottom.

torchvision's `make_grid` wants images of one size, and leaves no room for names.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ppn.data.marks import INK, draw_marks, draw_mask, draw_plate, mask_colours

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ppn.data.dataset import Annotated

UNIT = 2  # pixels per unit: sharp on dense screens
MARGIN = 28
TILE = 264
GAP = 20
CAPTION = 44
_GREY = "#667080"
_BACKDROP = "#f1f3f5"
_LEGEND_ROW = 24


@dataclass
class Picture:
    """An annotated image and the two lines below it."""

    sample: Annotated
    name: str
    detail: str


@dataclass
class Sheet:
    """What is on a sheet.

    Attributes:
        title: First line.
        subtitle: Second line.
        pictures: The images, at least one.
        part_names: Names of the keypoints.
        mask_names: Names of the values of masks, from 1 on.
        box: What boxes stand for.
    """

    title: str
    subtitle: str
    pictures: list[Picture]
    part_names: Sequence[str] = ()
    mask_names: Sequence[str] = ()
    box: str = "box of the object"


class Grid(NamedTuple):
    """Where the images of a sheet are, in units.

    `columns` images stand in a row; each may fill `tile` units (width, height), from `top` on.
    """

    columns: int
    tile: tuple[int, int]
    top: int

    def corner(self, position: int) -> tuple[int, int]:
        """Return the upper left corner of the place of an image, in units."""
        row, column = divmod(position, self.columns)
        x = MARGIN + column * (self.tile[0] + GAP)
        return x, self.top + row * (self.tile[1] + CAPTION + GAP)


@dataclass
class _Entry:
    """One line of the legend: a numbered part, a colour of masks, or the box."""

    text: str
    number: int | None = None
    colour: str | None = None
    width: float = field(init=False)

    def __post_init__(self) -> None:
        self.width = 34 + _font(12.5).getlength(self.text) / UNIT + 18


def grid_of(sheet: Sheet) -> Grid:
    """Choose columns, and the shape of a place that wastes little on the images at hand."""
    count = len(sheet.pictures)
    columns = min(count, 3 if count in (3, 5, 6, 9) else 4 if count <= 24 else 6)
    shapes = [p.sample.image.size[1] / p.sample.image.size[0] for p in sheet.pictures]
    height = round(TILE * float(np.clip(np.median(shapes), 0.6, 1.3)))
    return Grid(columns, (TILE, height), MARGIN + 64)


def placed(picture: Picture, grid: Grid, position: int) -> tuple[tuple[int, int, int, int], float]:
    """Return where an image lies on the sheet, and how much it is enlarged.

    Returns:
        x, y, width and height in pixels of the sheet, and pixels of the sheet per pixel.
    """
    width, height = picture.sample.image.size
    room = (grid.tile[0] * UNIT, grid.tile[1] * UNIT)
    scale = min(room[0] / width, room[1] / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    x, y = (UNIT * value for value in grid.corner(position))
    return (x + (room[0] - size[0]) // 2, y + (room[1] - size[1]) // 2, *size), scale


def draw_sheet(sheet: Sheet) -> Image.Image:
    """Draw a sheet, two pixels per unit."""
    grid = grid_of(sheet)
    rows = -(-len(sheet.pictures) // grid.columns)
    inner = max(grid.columns * (grid.tile[0] + GAP) - GAP, 2 * TILE + GAP)
    entries = _legend(sheet)
    column = max((entry.width for entry in entries), default=inner)
    across = max(1, int(inner // column))
    legend_top = grid.top + rows * (grid.tile[1] + CAPTION + GAP) + 2
    deep = -(-len(entries) // across)
    legend = 22 + deep * _LEGEND_ROW if entries else 0
    size = (inner + 2 * MARGIN, legend_top + legend + MARGIN - GAP // 2)
    image = Image.new("RGB", (size[0] * UNIT, size[1] * UNIT), "#ffffff")
    draw = ImageDraw.Draw(image)
    _text(draw, (MARGIN, MARGIN), sheet.title, 22, INK, inner)
    _text(draw, (MARGIN, MARGIN + 32), sheet.subtitle, 13, _GREY, inner)
    for position, picture in enumerate(sheet.pictures):
        _draw_picture(image, draw, sheet, grid, position, picture)
    if entries:
        edge = (legend_top + 2) * UNIT
        draw.line((MARGIN * UNIT, edge, (MARGIN + inner) * UNIT, edge), fill="#d9dde2", width=UNIT)
    # Read down the columns; an even width of columns looks calmer than a tight one.
    step = inner / min(across, max(1, len(entries)))
    step = min(step, max(column, 150))
    for i, entry in enumerate(entries):
        x = MARGIN + (i // deep) * step
        _draw_entry(image, entry, x, legend_top + 22 + (i % deep) * _LEGEND_ROW + 8)
    return image


def _draw_picture(
    image: Image.Image,
    draw: ImageDraw.ImageDraw,
    sheet: Sheet,
    grid: Grid,
    position: int,
    picture: Picture,
) -> None:
    x, y = grid.corner(position)
    place = (x * UNIT, y * UNIT, (x + grid.tile[0]) * UNIT - 1, (y + grid.tile[1]) * UNIT - 1)
    draw.rectangle(place, fill=_BACKDROP)
    (left, top, width, height), scale = placed(picture, grid, position)
    sample = picture.sample
    shown = sample.image.resize((width, height), Image.Resampling.LANCZOS)
    if sample.mask is not None:
        colours = mask_colours(sheet.mask_names, sheet.part_names)
        shown = draw_mask(shown, sample.mask, colours, UNIT)
    box = None if sample.box is None else sample.box * scale
    points = None if sample.keypoints is None else sample.keypoints * [scale, scale, 1]
    image.paste(draw_marks(shown, box, points, UNIT), (left, top))
    below = y + grid.tile[1]
    _text(draw, (x, below + 7), picture.name, 14, INK, grid.tile[0])
    _text(draw, (x, below + 26), picture.detail, 10.5, _GREY, grid.tile[0], keep_end=True)


def _legend(sheet: Sheet) -> list[_Entry]:
    samples = [picture.sample for picture in sheet.pictures]
    entries: list[_Entry] = []
    if any(sample.keypoints is not None for sample in samples):
        entries += [
            _Entry(_plain(name), number) for number, name in enumerate(sheet.part_names, start=1)
        ]
    masks = [sample.mask for sample in samples if sample.mask is not None]
    if masks:
        numbered = sheet.part_names if entries else ()
        if set(numbered) & set(sheet.mask_names):
            entries.append(_Entry("mask: area in the part's colour", colour="#d9dde2"))
        colours = mask_colours(sheet.mask_names, sheet.part_names)
        for name, colour in zip(sheet.mask_names, colours, strict=True):
            if name not in numbered:
                entries.append(_Entry(_plain(name) + " (mask)", colour=colour))
        if any((mask == 255).any() for mask in masks):
            entries.append(_Entry("unknown (mask)", colour="#8a8f98"))
    if any(sample.box is not None for sample in samples):
        entries.append(_Entry(sheet.box))
    return entries


def _draw_entry(image: Image.Image, entry: _Entry, x: float, y: float) -> None:
    draw = ImageDraw.Draw(image)
    centre, middle = round((x + 12) * UNIT), round(y * UNIT)
    if entry.number is not None:
        side = 24 * UNIT
        plate = Image.new("RGB", (2 * side, 2 * side), "#ffffff")  # reduced, for smooth edges
        draw_plate(ImageDraw.Draw(plate), entry.number, side, side, 2 * UNIT, 1.2)
        plate = plate.resize((side, side), Image.Resampling.BOX)
        image.paste(plate, (centre - side // 2, middle - side // 2))
    else:
        wide, high = 9 * UNIT, 6.5 * UNIT
        draw.rectangle(
            (centre - wide, middle - high, centre + wide, middle + high),
            fill=entry.colour,
            outline=None if entry.colour else INK,
            width=round(1.4 * UNIT),
        )
    draw.text(((x + 32) * UNIT, middle), entry.text, fill=INK, font=_font(12.5), anchor="lm")


@cache
def _font(size: float) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size * UNIT)
    assert isinstance(font, ImageFont.FreeTypeFont)  # with a size given it always is
    return font


def _text(
    draw: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    size: float,
    colour: str,
    room: float,
    keep_end: bool = False,
) -> None:
    """Write one line; what does not fit in `room` units gives way to an ellipsis."""
    font = _font(size)
    text = _plain(text)
    kept = text
    while len(kept) > 1 and font.getlength(kept if kept == text else kept + "…") > room * UNIT:
        kept = kept[1:] if keep_end else kept[:-1]
    if kept != text:
        kept = "…" + kept.lstrip(" ._-/") if keep_end else kept.rstrip(" ._-/") + "…"
    draw.text((at[0] * UNIT, at[1] * UNIT), kept, fill=colour, font=font)


def _plain(text: str) -> str:
    """Write a name with the letters that Pillow's own font has: accents go, the rest is "?"."""
    letters = unicodedata.normalize("NFKD", " ".join(text.split()))
    kept = (letter for letter in letters if not unicodedata.combining(letter))
    return "".join(letter if letter.isascii() or letter in "·…" else "?" for letter in kept)
