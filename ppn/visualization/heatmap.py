"""Prototype maps drawn over images, and patches cut out of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ppn.visualization.palette import scale

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_OPACITY = 0.6  # at the map's maximum: the plumage still shows through
_FADE = 0.7  # how much colour the picture loses where the map is zero
_DIM = 0.12  # and how much light
_SHADE = 0.7  # opacity of the black that marks evidence against the class
_CONTOUR = 0.5  # the outline runs at half of the scale's maximum
_AMPLIFY = 3.0  # at most: beyond, the noise of an empty map would look like evidence


def scale_tops(maps: Sequence[NDArray[np.floating[Any]]]) -> list[float]:
    """Value at the top of the scale of each map of one image.

    A number says how much a part adds; its map says where, and so has a scale of its own, within
    limits.
    """
    own = [float(np.nanmax(np.abs(grid), initial=0.0)) for grid in maps]
    least = max(own, default=0.0) / _AMPLIFY
    return [max(top, least) for top in own]


def averaged(grid: NDArray[np.floating[Any]], most: int) -> NDArray[np.floating[Any]]:
    """Return the means of a map over equal squares, at most so many in a column or row.

    Values of single pixels are too fine to see; a map's mean stays what it is where its size can
    be divided.
    """
    step = -(-max(grid.shape) // most)
    rows, columns = (-(-extent // step) for extent in grid.shape)
    padded = np.full((rows * step, columns * step), np.nan)
    padded[: grid.shape[0], : grid.shape[1]] = grid
    means: NDArray[np.floating[Any]] = np.nanmean(
        padded.reshape(rows, step, columns, step), axis=(1, 3)
    )
    return means


def overlay(
    image: Image.Image,
    heatmap: NDArray[np.floating[Any]],
    size: tuple[int, int],
    shared_max: float | None = None,
    hue: str | None = None,
    outline: bool = True,
) -> Image.Image:
    """Draw a map over an image.

    Where the map is zero the picture is faded to grey. Positive values bring its own colours back
    and tint them, lighter and more opaque as they grow, with an outline at half of the scale.
    Negative values never get a colour: they darken the picture. Values that are not finite count
    as zero.

    Args:
        image: The image that the map belongs to.
        heatmap: (H, W) the map, upsampled bicubically to `size`.
        size: Width and height of the result in pixels.
        shared_max: Value at the top of the scale; give several maps the same to compare them.
            None: the map's own largest absolute value.
        hue: "#rrggbb" of the prototype's identity colour; None: a neutral scale.
        outline: Whether to draw the outline.

    Returns:
        RGB image of `size`.
    """
    grid = np.nan_to_num(np.asarray(heatmap, dtype=np.float32), posinf=0.0, neginf=0.0)
    top = float(np.abs(grid).max(initial=0.0)) if shared_max is None else shared_max
    picture = np.asarray(image.convert("RGB").resize(size, Image.Resampling.LANCZOS), np.float32)
    picture = picture / np.float32(255)
    if not top > 0:  # an empty map, or a scale without extent: the picture alone
        return _to_image(picture)
    fine = np.asarray(Image.fromarray(grid).resize(size, Image.Resampling.BICUBIC))
    value = np.clip(fine / np.float32(top), -1, 1)
    positive = np.clip(value, 0, 1)

    grey = (picture @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
    weight = _smooth(positive)[..., None]
    faded = (picture + _FADE * (grey - picture)) * (1 - _DIM)
    base = faded + weight * (picture - faded)
    base = base * (1 - _SHADE * np.clip(-value, 0, 1)[..., None])
    colour = scale(hue)[np.round(255 * positive).astype(np.intp)]
    drawn = base + _OPACITY * weight * (colour - base)
    # A white line with a coloured core is seen on every background.
    lines = ((2.6, np.ones(3, np.float32)), (1.4, scale(hue)[128])) if outline else ()
    for width, paint in lines:
        line = _outline(positive, _CONTOUR, width)[..., None]
        drawn = drawn + line * (paint - drawn)
    return _to_image(drawn)


def crop_patch(
    image: Image.Image, box: tuple[float, float, float, float], context: float = 0.0
) -> Image.Image:
    """Cut a patch out of an image, as a square where the image allows it.

    Args:
        image: The whole image.
        box: x0, y0, x1, y1 in pixels; parts outside of the image are cut away.
        context: Margin on each side as a share of the box's longer side.

    Returns:
        The patch, at least 1 x 1 pixel.
    """
    x0, y0, x1, y1 = box
    side = max(x1 - x0, y1 - y0) * (1 + 2 * context)
    left, right = _interval((x0 + x1) / 2, side, image.width)
    upper, lower = _interval((y0 + y1) / 2, side, image.height)
    return image.convert("RGB").crop((left, upper, right, lower))


def _interval(centre: float, side: float, limit: int) -> tuple[int, int]:
    # Moved inwards rather than cut at the image's edge: a row of patches stays even.
    length = int(np.clip(round(side), 1, limit))
    start = int(np.clip(round(centre - length / 2), 0, limit - length))
    return start, start + length


def _smooth(value: NDArray[np.float32]) -> NDArray[np.float32]:
    """Ease in and out, so that weak background does not veil the picture."""
    return value * value * (3 - 2 * value)


def _outline(value: NDArray[np.float32], level: float, width: float) -> NDArray[np.float32]:
    """(H, W) opacity of an anti-aliased line of `width` pixels where `value` crosses `level`."""
    if min(value.shape) < 2:
        return np.zeros_like(value)
    slope = np.hypot(*np.gradient(value))
    distance = np.abs(value - level) / np.maximum(slope, 1e-6)  # in pixels, to first order
    opacity: NDArray[np.float32] = np.clip(width / 2 + 0.5 - distance, 0, 1)
    return opacity


def _to_image(rgb: NDArray[np.float32]) -> Image.Image:
    return Image.fromarray(np.round(255 * np.clip(rgb, 0, 1)).astype(np.uint8))
