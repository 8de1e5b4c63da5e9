"""Box, mask and numbered keypoints drawn on an image, for a person to look at.

Boxes and masks are drawn by torchvision. Its keypoints have one colour, no smooth edges and no
numbers, by which a person tells fifteen parts apart; so they are drawn here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch.nn.functional import max_pool2d
from torchvision.transforms.functional import pil_to_tensor, to_pil_image
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

if TYPE_CHECKING:
    from collections.abc import Sequence

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
_NEAREST = Image.Resampling.NEAREST
_SMOOTH = 2  # keypoints are drawn this much larger and reduced, which smooths their edges
_REACHES = (12.5, 16.0, 21.0, 27.0, 35.0, 45.0, 58.0)  # from a dot to its number
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


def mask_colours(mask_names: Sequence[str], part_names: Sequence[str]) -> list[str]:
    """Return the colour of each value of a mask, from 1 on.

    Areas that have a keypoint's name have its colour, the others one from the palette's end.
    """
    others = [name for name in mask_names if name not in part_names]
    return [
        PALETTE[(6 - others.index(name)) % len(PALETTE)]
        if name in others
        else colour_of(list(part_names).index(name))
        for name in mask_names
    ]


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
    values = torch.from_numpy(np.array(Image.fromarray(mask).resize(image.size, _NEAREST)))
    table = dict(enumerate(colours, start=1)) | {UNKNOWN: "#8a8f98"}
    areas = torch.stack([values == value for value in table])
    core = max_pool2d((~areas).float(), 2 * line + 1, stride=1, padding=line) == 0
    pixels = pil_to_tensor(image) / 255  # torchvision rounds whole numbers down
    for shown, weight in ((core, 0.36), (areas & ~core, 0.95)):
        pixels = draw_segmentation_masks(pixels, shown, weight, list(table.values()))
    drawn: Image.Image = to_pil_image((pixels * 255).round().byte())
    return drawn


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
    if box is not None:
        edge = 1.2 * unit  # kept visible where the box touches the border
        corners = np.clip(box, edge, np.array([width, height, width, height]) - edge)
        corners[2:] = corners[2:].clip(corners[:2])
        pixels = pil_to_tensor(image)
        for colour, thick in (("#ffffff", 3.2), (INK, 1.4)):
            half = thick * unit / 2 * np.array([-1, -1, 1, 1])
            outline = torch.from_numpy(corners + half)[None]
            pixels = draw_bounding_boxes(pixels, outline, colors=colour, width=round(thick * unit))
        image = to_pil_image(pixels)
    layer = Image.new("RGBA", (width * _SMOOTH, height * _SMOOTH))
    draw = ImageDraw.Draw(layer)
    u = unit * _SMOOTH
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
    reach, turn = np.meshgrid(_REACHES, np.arange(20) * np.pi / 10, indexing="ij")
    tags: dict[int, Tag] = {}
    # From outside to inside: outer numbers leave the middle to those that have no other place.
    # The second round moves what the first placed before its neighbours were known.
    for number, x, y in 2 * sorted(shown, key=lambda p: -math.dist(p[1:], centre)):
        angle = turn.ravel() + math.atan2(y - centre[1], x - centre[0])
        ways = np.column_stack([np.cos(angle), np.sin(angle)]) * reach.reshape(-1, 1)
        # Shorter is better, and so is pointing away from the middle, where `turn` is 0.
        costs = reach.ravel() + 6 * (1 - np.cos(turn.ravel()))
        others = [tag for tag in tags.values() if tag.number != number]
        start = np.array([x, y])
        plain = Tag(number, x, y, (x, y))
        costs += _obstacles(plain.half_width, start, start + ways, others, dots, size)
        place = start + ways[int(np.argmin(costs))]
        tags[number] = plain._replace(x=float(place[0]), y=float(place[1]))
    return list(tags.values())


def _obstacles(
    half_width: float,
    start: NDArray[np.float64],
    places: NDArray[np.float64],
    others: list[Tag],
    dots: NDArray[np.float64],
    size: tuple[float, float],
) -> NDArray[np.float64]:
    """Rate what is in the way of a number at each of (K, 2) places, and of the line to it."""
    half = np.array([half_width + 1, _LABEL + 1])
    over = np.maximum(half - places, places + half - size).max(1).clip(min=0)
    cost: NDArray[np.float64] = 1000.0 * (over > 0) + 100 * over
    hidden = (np.abs(places[:, None] - dots) < half + DOT + 1).all(2)
    foreign = dots[(dots != start).any(1)]
    touched = _distance(foreign, start, places[:, None]) < DOT + 1
    cost += 400 * hidden.sum(1) + 60 * touched.sum(1)
    for other in others:
        end, origin = np.array([other.x, other.y]), np.array(other.at)
        reach = half + np.array([other.half_width, _LABEL])
        cost += 1000 * (np.abs(places - end) < reach).all(1)
        cost += 200 * (_distance(end, start, places) < other.half_width + 1)
        cost += 200 * (_distance(places, origin, end) < half_width + 1)
        apart = _side(start, places, origin) != _side(start, places, end)
        cost += 120 * (apart & (_side(origin, end, start) != _side(origin, end, places)))
    return cost


def _distance(
    points: NDArray[np.float64], start: NDArray[np.float64], end: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Distance of points (..., 2) from the lines between two others (..., 2)."""
    way = end - start
    length = np.maximum((way * way).sum(-1), 1e-9)
    share = (((points - start) * way).sum(-1) / length).clip(0, 1)
    rest = points - start - share[..., None] * way
    distance: NDArray[np.float64] = np.hypot(rest[..., 0], rest[..., 1])
    return distance


def _side(
    start: NDArray[np.float64], end: NDArray[np.float64], point: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Whether a point lies to the right of a line."""
    way, other = end - start, point - start
    right: NDArray[np.bool_] = way[..., 0] * other[..., 1] > way[..., 1] * other[..., 0]
    return right
