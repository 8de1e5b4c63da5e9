"""One explained image: a logit as a sum of parts. Pictures, reports and files all read this."""

from __future__ import annotations

import base64
import io
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ppn.errors import DataError
from ppn.io.files import user_path, write_bytes
from ppn.version import __version__
from ppn.visualization.heatmap import averaged
from ppn.visualization.numbers import number, percent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ppn.classifier.head_case import HeadInspection
    from ppn.explanation.terms import Agreement, MapTerms

_ROUNDING = 1e-4
"""Float32 sums of a few terms differ by some 1e-6 of their size; this much is not rounding."""
_SQUARES = 28
"""Squares in a row in which maps of pixels are drawn."""
_FORMATS = ("png", "jpg", "jpeg", "webp", "tif", "tiff", "pdf", "svg")


@dataclass(frozen=True, eq=False)
class Patch:
    """A training patch near a prototype.

    Attributes:
        image: The training image as the network saw it.
        box: The patch: x0, y0, x1, y1 in pixels of `image`.
        score: Similarity of the patch to the prototype (inner product).
        name: The image's name, shown to the reader.
        heatmap: (H, W) the prototype's map on the whole image, any resolution.
    """

    image: Image.Image
    box: tuple[float, float, float, float]
    score: float
    name: str
    heatmap: NDArray[np.floating[Any]] | None = None


@dataclass(frozen=True)
class Ranked:
    """One of the most likely classes.

    Attributes:
        label: Index of the class.
        name: Name of the class.
        logit: The black box's logit.
        probability: Softmax of it over all classes, in [0, 1].
    """

    label: int
    name: str
    logit: float
    probability: float


@dataclass(frozen=True, eq=False)
class Explanation:
    """The logit of one class on one image as a sum of contributions, each with its map.

    In a notebook the last line `explanation` shows the picture.

    Attributes:
        image: The image as the network saw it.
        name: The image's name.
        label: Index of the explained class.
        class_name: Name of the explained class.
        logit: The black box's own logit of that class, not the sum of the parts.
        bias: The class's bias.
        contributions: (k) what each prototype adds to the logit.
        maps: (k) arrays (H, W), each prototype's map on the image.
        patches: (k) nearest training patch of each prototype; None where it is not at hand.
        ranking: The most likely classes, the most likely first.
        probability: Softmax probability of the explained class, in [0, 1].
        inspection: What is exact about explanations of this classifier, in numbers and words.
        scale: The factor 1/s that the contributions carry behind a norm; 1 otherwise.
        true_class: Name of the true class; empty where it is unknown.
        part_names: (k) name of each prototype, the same for every class; empty without names.
        terms: What of each contribution is in its map and what is not, for maps that were made
            complete; None for the maps of cells.
    """

    image: Image.Image
    name: str
    label: int
    class_name: str
    logit: float
    bias: float
    contributions: tuple[float, ...]
    maps: tuple[NDArray[np.floating[Any]], ...]
    patches: tuple[Patch | None, ...]
    ranking: tuple[Ranked, ...]
    probability: float
    inspection: HeadInspection
    scale: float = 1.0
    true_class: str = ""
    part_names: tuple[str, ...] = ()
    terms: MapTerms | None = None

    def __post_init__(self) -> None:
        if not len(self.contributions) == len(self.maps) == len(self.patches):
            raise ValueError(
                f"The explanation of {self.name!r} has {len(self.contributions)} contributions, "
                f"{len(self.maps)} maps and {len(self.patches)} patches: give one of each per "
                "prototype."
            )

    @property
    def residual(self) -> float:
        """The sum of contributions and bias, minus the black box's logit: what is not exact."""
        return sum(self.contributions) + self.bias - self.logit

    @property
    def adds_up(self) -> bool:
        """Whether the residual is no more than rounding."""
        terms = (*self.contributions, self.bias)
        largest = max(map(abs, (*terms, *accumulate(terms), self.logit)))
        return abs(self.residual) <= _ROUNDING * max(largest, 1e-12)

    @property
    def titles(self) -> tuple[str, ...]:
        """(k) what each prototype is called in pictures: its name, or "Part 1" and so on."""
        return tuple(part_title(index, self.part_names) for index in range(len(self.maps)))

    @property
    def predicted(self) -> Ranked:
        """The most likely class."""
        return self.ranking[0]

    @property
    def verdict(self) -> str:
        """How likely the explained class is, and which is predicted if that is another one."""
        likely = percent(self.probability, 1)
        if self.predicted.label == self.label:
            return f"predicted with {likely}"
        return f"{likely}; predicted: {self.predicted.name}"

    @property
    def check(self) -> str:
        """Whether the parts add up, in words."""
        gap = number(abs(self.residual))
        if self.adds_up:
            return (
                "The parts and the bias add up to the black box's own logit; the difference is "
                f"{gap}. Digits are rounded so that the printed sum adds up too."
            )
        return f"The parts do not add up: their sum differs from the black box's logit by {gap}."

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know: what is exact, whether it adds up, and the image's factor."""
        factor = self.inspection.words.factor.format(scale=self.scale)
        exactness = self.inspection.exactness
        if self.terms is not None:
            exactness = self.terms.sentence(self.contributions)
        return tuple(filter(None, (exactness, self.check, factor, self._disagreement)))

    @property
    def drawn(self) -> tuple[NDArray[np.floating[Any]], ...]:
        """(k) the maps as pictures show them: those of pixels as means over small squares."""
        if self.terms is None or self.terms.kind != "pixels":
            return self.maps
        return tuple(averaged(grid, _SQUARES) for grid in self.maps)

    @property
    def agreements(self) -> tuple[Agreement, ...]:
        """(k) how far pixel maps agree with the maps of cells; empty for other maps."""
        return () if self.terms is None else self.terms.agreements(self.maps)

    @property
    def _disagreement(self) -> str:
        apart = [
            title
            for title, found in zip(self.titles, self.agreements, strict=False)
            if not found.agrees
        ]
        if not apart:
            return ""
        return (
            f"Pixels and cells disagree for {', '.join(apart)}: no more of the attribution is "
            "inside the region of the cells than chance puts there, so the cells do not show what "
            "in the picture counts."
        )

    def picture(self) -> Image.Image:
        """Draw image, maps, contributions and nearest patches as one picture."""
        return Image.open(io.BytesIO(self._drawn("png"))).convert("RGB")

    def save(self, path: str | Path) -> Path:
        """Write the picture; an earlier file is replaced whole.

        Args:
            path: Its suffix chooses the format: PNG, JPEG, WebP, TIFF, or PDF or SVG, whose text
                and lines are vectors. A `~` at its beginning is the home folder.

        Returns:
            The path.

        Raises:
            DataError: If there is no such format, or the file cannot be written.
        """
        target = user_path(path)
        kind = target.suffix[1:].lower()
        if kind not in _FORMATS:
            known = ", ".join(f".{known}" for known in _FORMATS)
            raise DataError(f"{path} is not the path of a picture: let it end in one of {known}.")
        write_bytes(target, self._drawn(kind))
        return target

    def show(self) -> None:
        """Open the picture in the system's viewer; in a notebook, end the cell with the object."""
        self.picture().show()

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the pictures as plain values for JSON.

        The sum of all `contribution` and `bias` is `logit` but for `residual`. Positions and boxes
        are pixels of the network's input, maps are row by row.
        """
        parts = zip(self.contributions, self.maps, self.patches, strict=True)
        return {
            "image": self.name,
            "explained_class": {"label": self.label, "name": self.class_name},
            "true_class": self.true_class or None,
            "probability": self.probability,
            "logit": self.logit,
            "bias": self.bias,
            "residual": self.residual,
            "scale": self.scale,
            "exact": self.inspection.level if self.terms is None else self.terms.level,
            **({} if self.terms is None else {"maps": self.terms.to_dict(self.contributions)}),
            "notes": list(self.notes),
            "prototypes": [
                {
                    "prototype": index,
                    "name": self.part_names[index - 1] if self.part_names else None,
                    "contribution": contribution,
                    "peak": _peak(grid, self.image.size),
                    "map": np.asarray(grid, dtype=float).round(6).tolist(),
                    **self._terms_of(index - 1),
                    "nearest_patch": patch
                    and {"image": patch.name, "box": list(patch.box), "score": patch.score},
                }
                for index, (contribution, grid, patch) in enumerate(parts, start=1)
            ],
            "ranking": [asdict(ranked) for ranked in self.ranking],
            "version": __version__,
        }

    def _terms_of(self, index: int) -> dict[str, float]:
        """The terms of one contribution beside its map."""
        if self.terms is None:
            return {}
        found = {"elsewhere": self.terms.elsewhere[index], "baseline": self.terms.baseline[index]}
        if self.agreements:
            inside, area = self.agreements[index].inside, self.agreements[index].area
            found |= {"inside_cells": inside, "cells_area": area}
        return found

    def _repr_html_(self) -> str:
        text = base64.b64encode(self._drawn("png")).decode("ascii")
        return f'<img style="max-width:100%" alt="Explanation" src="data:image/png;base64,{text}">'

    def _drawn(self, kind: str) -> bytes:
        from ppn.visualization.figure import draw  # matplotlib takes its time

        return draw(self, kind)


def part_title(index: int, names: Sequence[str] = ()) -> str:
    """What prototype `index`, from 0, of a class is called in pictures; `names` of all, or none."""
    return names[index] if names else f"Part {index + 1}"


def _peak(grid: NDArray[np.floating[Any]], size: tuple[int, int]) -> list[float]:
    """Middle of the cell in which a map is largest: x, y in pixels."""
    row, column = np.unravel_index(int(np.argmax(grid)), grid.shape)
    width, height = size
    return [
        (float(column) + 0.5) * width / grid.shape[1],
        (float(row) + 0.5) * height / grid.shape[0],
    ]
