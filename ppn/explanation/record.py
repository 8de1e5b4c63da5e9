"""One explained image: a logit as a sum of parts. Pictures, reports and files all read this."""

from __future__ import annotations

import base64
import io
from dataclasses import asdict, dataclass, field
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
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ppn.classifier.head_case import HeadInspection
    from ppn.explanation.terms import Agreement, MapTerms
    from ppn.explanation.versus import Versus

_ROUNDING = 1e-4
"""Float32 sums of a few terms differ by some 1e-6 of their size; this much is not rounding."""
_CARRIES = 0.05
"""A part that adds less, over the part that adds most, carries nothing worth a comparison."""
_CLOSE = 0.5
"""A prediction is uncertain below this probability, or where the runner-up has this much of it."""
_UNLIKE = 0.25
"""An image is unlike the training images where its patches match parts by less than this, over the
nearest training patches. A round number, chosen by eye on birds: a caution, not a test."""
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
        logit: The black box's own logit of that class, not the sum of the parts; plus `change`.
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
        edits: What was done to the class's parts since they were found, in words.
        change: What that adds to the black box's logit.
        against: Explains the same image again, held against another class; None where the network
            is not at hand, as in another process.
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
    edits: tuple[str, ...] = ()
    change: float = 0.0
    against: Callable[[int | str], Versus] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not len(self.contributions) == len(self.maps) == len(self.patches):
            raise ValueError(
                f"The explanation of {self.name!r} has {len(self.contributions)} contributions, "
                f"{len(self.maps)} maps and {len(self.patches)} patches: give one of each per "
                "prototype."
            )

    @property
    def residual(self) -> float:
        """The sum of contributions and bias, minus the logit: what is not exact."""
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
    def order(self) -> tuple[int, ...]:
        """(k) the parts, what adds most first."""
        k = len(self.contributions)
        return tuple(sorted(range(k), key=lambda index: -self.contributions[index]))

    @property
    def carries(self) -> tuple[bool, ...]:
        """(k) whether a part speaks for the class, so that it looks like its nearest patches."""
        least = _CARRIES * max(map(abs, self.contributions), default=0.0)
        return tuple(value > least for value in self.contributions)

    @property
    def likeness(self) -> float | None:
        """How well patches of the image match the class's parts, over the nearest training patches.

        The sum of the maps' maxima over that of the nearest patches' scores, 1 for patches that are
        as near as the nearest; None where maps are not <token, prototype> or patches not at hand.
        """
        kept = [index for index, value in enumerate(self.contributions) if value != 0]
        cells = self.maps if self.terms is None else self.terms.cells
        if (
            not self.inspection.averages
            or not cells
            or not kept
            or any(self.patches[i] is None for i in kept)
        ):
            return None
        best = sum(max(0.0, float(np.max(cells[i]))) for i in kept) / self.scale
        nearest = sum(max(0.0, patch.score) for i in kept if (patch := self.patches[i]))
        return best / nearest if nearest > 0 else None

    @property
    def caution(self) -> str:
        """What to keep in mind about this prediction; empty where nothing speaks against it."""
        first, second = self.predicted, self.ranking[1] if len(self.ranking) > 1 else None
        found = []
        exclusive = second is not None and first.probability + second.probability <= 1 + _ROUNDING
        if second and exclusive and second.probability > _CLOSE * first.probability:
            found.append(
                f"The prediction is uncertain: {first.name} {percent(first.probability)}, "
                f"{second.name} {percent(second.probability)}."
            )
        elif first.probability < _CLOSE and self.label == first.label and len(self.ranking) > 1:
            found.append(f"The prediction is uncertain: {percent(first.probability)}.")
        likeness = self.likeness
        if likeness is not None and likeness < _UNLIKE and self.label == first.label:
            found.append(
                "The image is unlike the training images: its patches match the class's parts by "
                f"{percent(likeness)} of what the nearest training patches do."
            )
        return " ".join(found)

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
        whose = "the edited network's logit" if self.edits else "the black box's own logit"
        if self.adds_up:
            return (
                f"The parts and the bias add up to {whose}; the difference is {gap}. "
                "Digits are rounded so that the printed sum adds up too."
            )
        return f"The parts do not add up: their sum differs from {whose} by {gap}."

    @property
    def edited(self) -> str:
        """What was edited, and what the black box's own logit is; empty where nothing was."""
        if not self.edits:
            return ""
        before = number(self.logit - self.change)
        return f"Edited: {'; '.join(self.edits)}. The black box's own logit is {before}."

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know: what is exact, whether it adds up, and the image's factor."""
        factor = self.inspection.words.factor.format(scale=self.scale)
        exactness = self.inspection.exactness
        if self.terms is not None:
            exactness = self.terms.sentence(self.contributions)
        notes = (self.edited, exactness, self.check, factor, self._disagreement)
        return tuple(filter(None, notes))

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

    def versus(self, target: int | str) -> Versus:
        """Say why this class and not another: their parts on this image, side by side.

        Args:
            target: The other class, by name or index.

        Raises:
            DataError: If there is no such class, it is this one or has no prototypes, or the
                network is not at hand.
        """
        if self.against is None:
            raise DataError(
                "This explanation has lost its network: explain the image again, with "
                "network.explain(image).versus(...)."
            )
        return self.against(target)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the network behind: it is larger than what it has explained."""
        return {**self.__dict__, "against": None}

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
        write_bytes(target, self._drawn(picture_kind(target)))
        return target

    def show(self) -> None:
        """Open the picture in the system's viewer; in a notebook, end the cell with the object."""
        self.picture().show()

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the pictures as plain values for JSON.

        The sum of all `contribution` and `bias` is `logit` but for `residual`; without `change` it
        is the black box's. Positions and boxes
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
            "likeness": self.likeness,
            "caution": self.caution or None,
            **({"edits": list(self.edits), "change": self.change} if self.edits else {}),
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


def picture_kind(path: Path) -> str:
    """Return the format of a picture's path.

    Raises:
        DataError: If there is no such format.
    """
    kind = path.suffix[1:].lower()
    if kind not in _FORMATS:
        known = ", ".join(f".{known}" for known in _FORMATS)
        raise DataError(f"{path} is not the path of a picture: let it end in one of {known}.")
    return kind


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
