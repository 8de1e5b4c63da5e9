"""Colours: one identity colour per prototype, and the scales of the heatmaps."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Chosen by a search that keeps them apart under simulated protanopia, deuteranopia and tritanopia
# (smallest CIELAB distance 16 for the first seven, 11 for all ten). Colour is never the only cue:
# the prototype's number stands wherever its colour does.
IDENTITY = (
    "#2b6cde",  # blue
    "#ec8a1c",  # orange
    "#0f9d8a",  # teal
    "#b3203b",  # crimson
    "#5b21c9",  # violet
    "#edc08f",  # sand
    "#9fd0f5",  # sky
    "#8a2d86",  # plum
    "#f0468c",  # pink
    "#5f4720",  # umber
)

# From dark and cold to light and warm: lightness rises evenly along the scale.
_NEUTRAL_SCALE = ("#2a1a5e", "#7b2382", "#c83e6b", "#f4824a", "#fbd27a")

_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def identity_colour(index: int) -> str:
    """The colour of prototype `index` as "#rrggbb"; colours repeat after ten."""
    return IDENTITY[index % len(IDENTITY)]


def ink_on(colour: str) -> str:
    """Black or white as "#rrggbb", whichever is easier to read on `colour`."""
    luminance = float(_linear(_rgb(colour)) @ np.array([0.2126, 0.7152, 0.0722]))
    # The two contrasts of WCAG, (L + 0.05) / 0.05 and 1.05 / (L + 0.05), are equal at L = 0.179.
    return "#ffffff" if luminance < 0.179 else "#14161a"


@cache
def scale(hue: str | None = None) -> NDArray[np.float32]:
    """A colour scale whose steps look equally large.

    Args:
        hue: "#rrggbb" that the scale passes through; None: a neutral scale, dark violet to sand.

    Returns:
        (256, 3) RGB in [0, 1], interpolated in the OKLab colour space.
    """
    if hue is None:
        anchors = np.stack([_to_lab(_rgb(colour)) for colour in _NEUTRAL_SCALE])
    else:
        middle = _to_lab(_rgb(hue))
        # Lighter towards the peak, so that the peak is found even without seeing the hue.
        peak = np.array([max(0.84, middle[0]), *(0.8 * middle[1:])])
        foot = np.array([0.75 * middle[0], *(0.9 * middle[1:])])
        anchors = np.stack([foot, middle, peak])
    lengths = np.linalg.norm(np.diff(anchors, axis=0), axis=1)
    position = np.concatenate([[0.0], np.cumsum(lengths)]) / lengths.sum()
    steps = np.linspace(0, 1, 256)
    lab = np.stack([np.interp(steps, position, anchors[:, d]) for d in range(3)], axis=1)
    table: NDArray[np.float32] = _from_lab(lab).astype(np.float32)
    table.setflags(write=False)  # it is cached and shared
    return table


def _rgb(colour: str) -> NDArray[np.float64]:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255


def _linear(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def _to_lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    lab: NDArray[np.float64] = _TO_LAB @ np.cbrt(_TO_LMS @ _linear(rgb))
    return lab


def _from_lab(lab: NDArray[np.float64]) -> NDArray[np.float64]:
    lms: NDArray[np.float64] = (np.linalg.inv(_TO_LAB) @ lab.T) ** 3
    linear: NDArray[np.float64] = np.clip((np.linalg.inv(_TO_LMS) @ lms).T, 0, 1)
    root = 1.055 * linear ** (1 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, 12.92 * linear, root)


def part_colours(index: int) -> dict[str, str]:
    """Return what a page needs to mark a part: its `colour`, and one for text `on` that."""
    colour = identity_colour(index)
    return {"colour": colour, "on": ink_on(colour)}
