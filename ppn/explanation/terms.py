"""The terms that maps which add up leave beside the map itself, and how far two kinds agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from ppn.classifier.complete import TOLERANCE, Baseline
from ppn.configured import expect_positive
from ppn.errors import PPNError
from ppn.visualization.numbers import THIN, number, percent

if TYPE_CHECKING:
    from numpy.typing import NDArray

MapKind = Literal["cells", "complete", "pixels"]
"""Maps over the cells of the last features, as the head's case has them; path integrals from a
layer where those add up to nothing; or path integrals from the pixels."""


@dataclass(frozen=True)
class MapOptions:
    """Which maps are shown, and how those are made that are to add up.

    Attributes:
        maps: None: of cells where they are exact, else maps that are made complete.
        tolerance: Largest completeness error, over the contributions' standard deviation.
        baseline: What images are compared with.
        cut: Name of the module whose output complete maps are of; None takes the default.

    Raises:
        PPNError: If there are no such maps or baseline, or the tolerance is not positive.
    """

    maps: MapKind | None = None
    tolerance: float = TOLERANCE
    baseline: Baseline = "blurred"
    cut: str | None = None

    def __post_init__(self) -> None:
        expect_positive(PPNError, tolerance=self.tolerance)
        words = {
            "maps": (self.maps, get_args(MapKind)),
            "baseline": (self.baseline, get_args(Baseline)),
        }
        for name, (word, known) in words.items():
            if word is not None and word not in known:
                listed = ", ".join(map(repr, known))
                raise PPNError(f"{name} is {word!r:.40}, but must be one of {listed}.")


DEFAULT = MapOptions()
_HALF = 0.5
"""A part's cell region: cells of at least so much of its map's maximum."""
_NOTHING = 1e-4
"""Share without a place that is rounding."""
_ROUNDING = 1e-5
"""Mean attribution to a pixel, over the mean of a cell, that is rounding."""
_BASELINES: dict[str, str] = {
    "blurred": "the blurred image",
    "grey": "a grey image",
    "colour": "an image of its mean colour",
    "tokens": "its mean token everywhere",
}


@dataclass(frozen=True)
class Agreement:
    """How far a part's pixel map and its cell map point at the same places.

    Attributes:
        inside: Share of the absolute pixel attribution inside the cell region, in [0, 1]; None
            where there is nothing to compare: no attribution, as on an image that is its own
            baseline, or a region that is the whole image.
        area: The region's share of the image, which `inside` is where they have nothing in common.
    """

    inside: float | None
    area: float

    @property
    def agrees(self) -> bool:
        """Whether more is inside than chance would put there, or nothing is to be compared."""
        return self.inside is None or self.inside > self.area

    @property
    def sentence(self) -> str:
        """Both numbers in words."""
        if self.inside is None:
            return "nothing to compare"
        area = percent(self.area)
        found = f"{percent(self.inside)} of the attribution in the cells' {area} of the image"
        return found if self.agrees else f"{found}: they disagree"


@dataclass(frozen=True, eq=False)
class MapTerms:
    """What of each contribution is in its map, and what is not.

    contribution = mean of its map + elsewhere + baseline, up to `error`.

    Attributes:
        kind: "complete" or "pixels".
        place: Where the attributed tokens or pixels are, in words.
        compared: What the image is compared with.
        elsewhere: (k) what comes through tokens without a place, such as a class token.
        baseline: (k) the contribution to the baseline.
        error: Largest difference between both sides, over the contributions' standard deviation.
        tolerance: The largest error that was aimed at.
        nodes: Points of the path whose gradients the maps are the mean of.
        cells: (k) cell maps to show beside pixel maps; empty for other kinds.
    """

    kind: MapKind
    place: str
    compared: Baseline
    elsewhere: tuple[float, ...]
    baseline: tuple[float, ...]
    error: float
    tolerance: float
    nodes: int
    cells: tuple[NDArray[np.floating[Any]], ...] = ()

    @property
    def reached(self) -> bool:
        """Whether the error is as small as was asked for."""
        return self.error <= self.tolerance

    @property
    def level(self) -> str:
        """What may be said of the explanation, in a few words."""
        return f"contributions exact, {self._state} (error {_fine(self.error)})"

    @property
    def _state(self) -> str:
        what = "maps of pixels" if self.kind == "pixels" else "maps"
        return f"{what} {'complete' if self.reached else 'not complete'}"

    def elsewhere_share(self, contributions: tuple[float, ...]) -> float:
        """Return how much of what differs from the baseline has no place, in [0, 1] or more."""
        moved = [abs(c - b) for c, b in zip(contributions, self.baseline, strict=True)]
        return sum(map(abs, self.elsewhere)) / max(sum(moved), 1e-12)

    def leaks(self, contributions: tuple[float, ...]) -> bool:
        """Whether what has no place is more than rounding."""
        return self.elsewhere_share(contributions) >= _NOTHING

    def sentence(self, contributions: tuple[float, ...]) -> str:
        """Say what the maps are, with the numbers that they are to be judged by."""
        said = (
            f"Contributions exact, {self._state}: they miss contributions by at most "
            f"{_fine(self.error)} of the contributions' standard deviation. Gradients are "
            f"integrated from {_BASELINES[self.compared]} to the image at {self.place}, over "
            f"{self.nodes} points, each a run of what is behind and a pass back for each part. A "
            f"contribution is its map's mean, plus what it already is for "
            f"{_BASELINES[self.compared]} ({self._listed(self.baseline)})"
        )
        if self.leaks(contributions):
            share = percent(self.elsewhere_share(contributions))
            said += (
                f", plus what comes through tokens without a place, such as the class token "
                f"({self._listed(self.elsewhere)}; {share} of what the image changes)"
            )
        elif self.kind == "complete":
            said += "; 0 % of what the image changes comes through tokens without a place"
        if not self.reached:
            said += f"; {_fine(self.tolerance)} was not reached with so many points"
        return said + "."

    def agreements(self, maps: tuple[NDArray[np.floating[Any]], ...]) -> tuple[Agreement, ...]:
        """Return how far each pixel map agrees with its cell map; empty for other kinds."""
        if not self.cells:
            return ()
        return tuple(
            agreement(pixels, cells) for pixels, cells in zip(maps, self.cells, strict=True)
        )

    @staticmethod
    def _listed(values: tuple[float, ...]) -> str:
        return ", ".join(number(value) for value in values)

    def to_dict(self, contributions: tuple[float, ...]) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "kind": self.kind,
            "place": self.place,
            "baseline": self.compared,
            "completeness_error": self.error,
            "tolerance": self.tolerance,
            "nodes": self.nodes,
            "elsewhere_share": self.elsewhere_share(contributions),
        }


def agreement(pixels: NDArray[np.floating[Any]], cells: NDArray[np.floating[Any]]) -> Agreement:
    """Return how much of a pixel map is inside the region of a cell map.

    The region are the cells with at least half of the largest value; where none is positive, of
    the largest absolute value.

    Args:
        pixels: (H, W) of the image's size.
        cells: (h, w) of the same part.
    """
    strength = cells if float(cells.max()) > 0 else np.abs(cells)
    region = strength >= _HALF * strength.max()
    rows = np.arange(pixels.shape[0]) * cells.shape[0] // pixels.shape[0]
    columns = np.arange(pixels.shape[1]) * cells.shape[1] // pixels.shape[1]
    mask = region[np.ix_(rows, columns)]
    weight = np.abs(pixels.astype(np.float64))
    rounding = float(weight.mean()) <= _ROUNDING * float(np.abs(cells).mean())
    inside = None if rounding or mask.all() else float(weight[mask].sum() / weight.sum())
    return Agreement(inside, float(mask.mean()))


def _fine(share: float) -> str:
    """A small share in percent, which is not zero before it is."""
    return f"{number(100 * share)}{THIN}%"
