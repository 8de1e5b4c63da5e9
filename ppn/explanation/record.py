"""One explained image: a logit as a sum of parts. Pictures, reports and files all read this."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ppn.errors import DataError
from ppn.explanation.drawable import Drawable
from ppn.explanation.plain import plain_values
from ppn.visualization.heatmap import averaged
from ppn.visualization.numbers import number, percent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from PIL import Image

    from ppn.classifier.head_case import HeadInspection
    from ppn.explanation.terms import Agreement, MapTerms
    from ppn.explanation.versus import Versus

_ROUNDING = 1e-4
"""Float32 sums of a few terms differ by some 1e-6 of their size; this much is not rounding."""
_CARRIES = 0.05
"""A part that adds less, over the part that adds most, carries nothing worth a comparison."""
_CLOSE = 0.5
"""A prediction is uncertain below this probability, or where the runner-up has this much of it."""
_SQUARES = 28
"""Squares in a row in which maps of pixels are drawn."""


@dataclass(frozen=True, eq=False)
class Patch:
    """A training patch near a prototype.

    Attributes:
        image: The training image as the network saw it.
        box: The patch: x0, y0, x1, y1 in pixels of `image`.
        score: Similarity of the patch to the prototype (inner product).
        name: The image's name, shown to the reader.
        heatmap: (H, W) the prototype's map on the whole image, any resolution.
        place: The patch in pixels of the network's input; None where `image` is that input, and
            `box` says it.
    """

    image: Image.Image
    box: tuple[float, float, float, float]
    score: float
    name: str
    heatmap: NDArray[np.floating[Any]] | None = None
    place: tuple[float, float, float, float] | None = None


class ClassImages(NamedTuple):
    """The training images of a class.

    Attributes:
        images: How many there are.
        least_likeness: `likeness` of the one that is least like the others, which are the training
            images then; 0 where it is not known.
    """

    images: int
    least_likeness: float


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
class Explanation(Drawable):
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
        training: The training images of the class; None where they are not known.
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
    training: ClassImages | None = None
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
        as near as the nearest; None where maps are not <token, prototype>, patches not at hand,
        or parts of the class edited.
        """
        kept = [index for index, value in enumerate(self.contributions) if value != 0]
        cells = self.maps if self.terms is None else self.terms.cells
        if (
            not self.inspection.averages
            or self.edits
            or not cells
            or not kept
            or any(self.patches[i] is None for i in kept)
        ):
            return None
        best = sum(max(0.0, float(np.max(cells[i]))) for i in kept) / self.scale
        nearest = sum(max(0.0, patch.score) for i in kept if (patch := self.patches[i]))
        return best / nearest if nearest > 0 else None

    @property
    def unlike(self) -> bool:
        """Whether the image is less like the training images of its class than each of them is.

        Of images like n training ones, 1 in n + 1 is, were the classifier not fitted to them.
        """
        likeness, seen = self.likeness, self.training
        return likeness is not None and seen is not None and likeness < seen.least_likeness

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
        if self.unlike and self.label == first.label and self.training is not None:
            found.append(
                "The image is unlike the training images: its patches match the class's parts by "
                f"{percent(self.likeness)} of what the nearest training patches do, and those of "
                f"each of the {self.training.images} training images of the class by at least "
                f"{percent(self.training.least_likeness)} of what the others' do."
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

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the pictures as plain values for JSON.

        The sum of all `contribution` and `bias` is `logit` but for `residual`; without `change` it
        is the black box's. Positions and boxes are pixels of the network's input, maps are row by
        row.
        """
        return plain_values(self)

    def drawn_as(self, kind: str) -> bytes:
        """Draw image, maps, contributions and nearest patches as one picture of this format."""
        from ppn.visualization.figure import draw  # matplotlib takes its time

        return draw(self, kind)


def part_title(index: int, names: Sequence[str] = ()) -> str:
    """What prototype `index`, from 0, of a class is called in pictures; `names` of all, or none."""
    return names[index] if names else f"Part {index + 1}"
