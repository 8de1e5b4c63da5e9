"""Box, mask and numbered keypoints drawn on an image, for a person to look at."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from numpy.typing import NDArray

PALETTE = (
    "#e69f00",  # orange
    "#56b4e9",  # sky blue
    "#009e73",  # green
    "#f0e442",  # yellow
    "#0072b2",  # blue
    "#d55e00",  # vermilion
    "#cc79a7",  # purple
    "#b8b8b8",  # grey, in place of the palette's black, which shadows hide
)
"""Colours that stay apart for colour-blind eyes (Okabe and Ito, Color Universal Design, 2008)."""

UNKNOWN = 255
INK = "#1c2128"
DOT = 3.4
"""Radius of a keypoint's dot in units of the sheet."""
_SMOOTH = 2  # everything is drawn this much larger and reduced, which smooths its edges
_LABEL = 6.5  # half the height of a keypoint's number


class Tag(NamedTuple):
    """Where the number of a keypoint stands, and the keypoint it belongs to."""

    number: int
    x: float
    y: float
    at: tuple[float, float]

    @property
    def half_width(self) -> float:
        """Half the width of the number's plate."""
        return _LABEL + 2.5 * (len(str(self.number)) - 1)


def colour_of(index: int) -> str:
    """Return the colour of part `index`; colours repeat after eight, numbers do not."""
    return PALETTE[index % len(PALETTE)]


def mask_colour(index: int, shared: bool) -> str:
    """Return the colour of mask value `index + 1`.

    Args:
        index: Position in the data set's `mask_names`.
        shared: Whether masks and keypoints have the same names, hence colours.
    """
    return colour_of(index) if shared else PALETTE[(6 - index) % len(PALETTE)]


def ink_on(colour: str) -> str:
    """Return dark or white, whichever is easier to read on a colour."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 130 else "#ffffff"


def draw_plate(
    draw: ImageDraw.ImageDraw, number: int, x: float, y: float, unit: float, scale: float = 1.0
) -> None:
    """Draw a part's number on its colour: round for the first eight, then square.

    Args:
        draw: What to draw on.
        number: The part's number, from 1 on.
        x: Centre in pixels.
        y: Centre in pixels.
        unit: Pixels per unit of the sheet.
        scale: Size relative to the numbers on images.
    """
    tag = Tag(number, x, y, (x, y))
    wide, high = tag.half_width * unit * scale, _LABEL * unit * scale
    colour = colour_of(number - 1)
    draw.rounded_rectangle(
        (x - wide, y - high, x + wide, y + high),
        radius=high if number <= len(PALETTE) else high * 0.3,
        fill=colour,
        outline="#ffffff",
        width=max(1, round(unit)),
    )
    font = ImageFont.load_default(9.5 * unit * scale)
    draw.text((x, y), str(number), fill=ink_on(colour), font=font, anchor="mm")


def draw_mask(
    image: Image.Image, mask: NDArray[np.uint8], colours: list[str], line: int
) -> Image.Image:
    """Lay a mask over an image: translucent colours with a solid edge; grey where unknown.

    Args:
        image: RGB image of any size.
        mask: (H, W) uint8 of the same proportions; see `Annotated`.
        colours: Colour of each value from 1 on.
        line: Width of the edge in pixels.
    """
    values = np.asarray(Image.fromarray(mask).resize(image.size, Image.Resampling.NEAREST))
    pixels = np.asarray(image).astype(np.float32)
    table = dict(enumerate(colours, start=1)) | {UNKNOWN: "#8a8f98"}
    for value, colour in table.items():
        inside = values == value
        if not inside.any():
            continue
        padded = np.pad(inside, line)
        core = inside.copy()
        height, width = inside.shape
        for dx, dy in ((0, 1), (2, 1), (1, 0), (1, 2)):
            top, left = dy * line, dx * line
            core &= padded[top : top + height, left : left + width]
        rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], np.float32)
        weight = np.where(core, 0.36, 0.95)[inside][:, None]
        pixels[inside] = (1 - weight) * pixels[inside] + weight * rgb
    return Image.fromarray(pixels.round().astype(np.uint8))


def draw_marks(
    image: Image.Image,
    box: NDArray[np.float64] | None,
    keypoints: NDArray[np.float64] | None,
    unit: float,
) -> Image.Image:
    """Draw a box and the visible keypoints that lie inside of the image.

    Args:
        image: RGB image.
        box: (4,) x0, y0, x1, y1 in pixels of `image`.
        keypoints: (P, 3) x, y and visibility, in pixels of `image`.
        unit: Pixels per unit of the sheet, in which lines and letters are sized.
    """
    width, height = image.size
    layer = Image.new("RGBA", (width * _SMOOTH, height * _SMOOTH))
    draw = ImageDraw.Draw(layer)
    u = unit * _SMOOTH
    if box is not None:
        edge = 1.2 * u  # kept visible where the box touches the border
        limit = np.array([width, height, width, height]) * _SMOOTH - edge
        x0, y0, x1, y1 = np.clip(box * _SMOOTH, edge, limit).tolist()
        for colour, thick in (("#ffffff", 3.2), (INK, 1.4)):
            half = thick * u / 2
            draw.rectangle(
                (x0 - half, y0 - half, max(x1, x0) + half, max(y1, y0) + half),
                outline=colour,
                width=round(thick * u),
            )
    if keypoints is not None:
        tags = place_tags(keypoints / [unit, unit, 1], (width / unit, height / unit))
        for tag in tags:
            line = (tag.at[0] * u, tag.at[1] * u, tag.x * u, tag.y * u)
            draw.line(line, fill="#ffffff", width=round(2.6 * u))
            draw.line(line, fill=INK, width=round(1.0 * u))
        for tag in tags:
            x, y = tag.at[0] * u, tag.at[1] * u
            for colour, radius in (("#ffffff", DOT + 1), (colour_of(tag.number - 1), DOT)):
                reach = radius * u
                draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill=colour)
        for tag in tags:
            draw_plate(draw, tag.number, tag.x * u, tag.y * u, u)
    layer = layer.resize(image.size, Image.Resampling.BOX)
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


def place_tags(keypoints: NDArray[np.float64], size: tuple[float, float]) -> list[Tag]:
    """Find places for the keypoints' numbers where they hide neither dots nor each other.

    Args:
        keypoints: (P, 3) x, y and visibility in units of the sheet.
        size: Width and height of the image in the same units.

    Returns:
        One tag for each keypoint that is visible and inside.
    """
    width, height = size
    shown = [
        (number, float(x), float(y))
        for number, (x, y, seen) in enumerate(keypoints, start=1)
        if seen and 0 <= x <= width and 0 <= y <= height
    ]
    if not shown:
        return []
    dots = np.array([(x, y) for _, x, y in shown])
    centre = dots.mean(0)
    tags: list[Tag] = []
    # From outside to inside: outer numbers leave the middle to those that have no other place.
    for number, x, y in sorted(shown, key=lambda p: -math.dist(p[1:], centre)):
        outwards = math.atan2(y - centre[1], x - centre[0])
        candidates = [
            Tag(number, x + reach * math.cos(angle), y + reach * math.sin(angle), (x, y))
            for reach in (12.5, 16.0, 21.0, 27.0, 35.0, 45.0, 58.0)
            for angle in (outwards + turn * math.pi / 10 for turn in range(20))
        ]
        tags.append(min(candidates, key=lambda tag: _cost(tag, tags, dots, size, outwards)))
    return tags


def _cost(
    tag: Tag,
    others: list[Tag],
    dots: NDArray[np.float64],
    size: tuple[float, float],
    outwards: float,
) -> float:
    wide, high = tag.half_width + 1, _LABEL + 1
    over = max(wide - tag.x, tag.x + wide - size[0], high - tag.y, tag.y + high - size[1], 0.0)
    angle = math.atan2(tag.y - tag.at[1], tag.x - tag.at[0])
    cost = math.dist((tag.x, tag.y), tag.at) + 6 * (1 - math.cos(angle - outwards))
    cost += 1000 * (over > 0) + 100 * over
    for x, y in dots:
        if abs(x - tag.x) < wide + DOT + 1 and abs(y - tag.y) < high + DOT + 1:
            cost += 400
        if (x, y) != tag.at and _distance((x, y), tag.at, (tag.x, tag.y)) < DOT + 1:
            cost += 60
    for other in others:
        place = (other.x, other.y)
        if abs(other.x - tag.x) < wide + other.half_width and abs(other.y - tag.y) < 2 * high:
            cost += 1000
        if _distance(place, tag.at, (tag.x, tag.y)) < other.half_width + 1:
            cost += 200
        if _distance((tag.x, tag.y), other.at, place) < tag.half_width + 1:
            cost += 200
        if _cross(tag.at, (tag.x, tag.y), other.at, place):
            cost += 120
    return cost


def _distance(
    point: tuple[float, float], start: tuple[float, float], end: tuple[float, float]
) -> float:
    """Distance of a point from a line between two others."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = dx * dx + dy * dy
    share = 0.0
    if length:
        share = ((point[0] - start[0]) * dx + (point[1] - start[1]) * dy) / length
    share = min(1.0, max(0.0, share))
    return math.dist(point, (start[0] + share * dx, start[1] + share * dy))


def _cross(
    a: tuple[float, float], b: tuple[float, float], c: tuple[float, float], d: tuple[float, float]
) -> bool:
    def side(p: tuple[float, float], q: tuple[float, float], r: tuple[float, float]) -> bool:
        return (q[0] - p[0]) * (r[1] - p[1]) > (q[1] - p[1]) * (r[0] - p[0])

    return side(a, b, c) != side(a, b, d) and side(c, d, a) != side(c, d, b)
