"""Why one class and not another: two logits of one image, part against part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ppn.errors import DataError
from ppn.explanation.drawable import Drawable
from ppn.visualization.numbers import number, printed_versus

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ppn.explanation.record import Explanation


@dataclass(frozen=True)
class Pair:
    """A part of the first class beside one of the second.

    Attributes:
        first: Which part of the first class, from 0.
        second: Which part of the second class.
        difference: Contribution of the first minus that of the second.
    """

    first: int
    second: int
    difference: float


@dataclass(frozen=True, eq=False)
class Versus(Drawable):
    """The logits of two classes on one image; what sets them apart, part by part.

    Every part of one class stands beside one of the other: the part of the same name where both
    classes have the same names, else the one that looks at the same place, by the best assignment
    of their maps. Whatever the pairs, their differences and that of the biases add up to the
    difference of the logits.

    Attributes:
        first: The explanation of the class that is asked about.
        second: That of the class it is held against.
    """

    first: Explanation
    second: Explanation

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """(k) pairs of parts, what speaks most for the first class at the top."""
        mine, theirs = self.first.contributions, self.second.contributions
        found = [Pair(i, j, mine[i] - theirs[j]) for i, j in enumerate(self._partners())]
        return tuple(sorted(found, key=lambda pair: -pair.difference))

    @property
    def bias(self) -> float:
        """Difference of the two biases."""
        return self.first.bias - self.second.bias

    @property
    def difference(self) -> float:
        """Difference of the two logits, which the black box gives."""
        return self.first.logit - self.second.logit

    @property
    def residual(self) -> float:
        """What differences of parts and biases miss of the difference of logits."""
        return sum(pair.difference for pair in self.pairs) + self.bias - self.difference

    @property
    def adds_up(self) -> bool:
        """Whether both sums do, but for rounding."""
        return self.first.adds_up and self.second.adds_up

    @property
    def printed(self) -> tuple[list[str], list[str], list[str]]:
        """Terms of the first class, the second, and their differences, as people are shown them.

        Those of the pairs, the biases, and the logits; printed rows and columns add up.
        """
        mine, theirs = self.first, self.second
        return printed_versus(
            [*(mine.contributions[pair.first] for pair in self.pairs), mine.bias],
            [*(theirs.contributions[pair.second] for pair in self.pairs), theirs.bias],
            (mine.logit, theirs.logit),
            self.adds_up,
        )

    @property
    def by_name(self) -> bool:
        """Whether parts are paired by their names."""
        titles = self.first.titles
        own = any(title != f"Part {index + 1}" for index, title in enumerate(titles))
        return own and len(set(titles)) == len(titles) and set(titles) == set(self.second.titles)

    @property
    def verdict(self) -> str:
        """One sentence: which class is ahead, by how much, and what sets it apart most."""
        ahead, behind = self.first.class_name, self.second.class_name
        pairs, gap = self.pairs, self.difference
        if gap < 0:
            ahead, behind = behind, ahead
        best = pairs[0] if gap >= 0 else pairs[-1]
        title = (self.first.titles[best.first], self.second.titles[best.second])[gap < 0]
        return (
            f"{ahead} is ahead of {behind} by {number(abs(gap))}; most of all by {title.lower()} "
            f"({number(abs(best.difference))})."
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know: how parts were paired, what is exact, whether it adds up."""
        how = "by name" if self.by_name else "by the place that they look at"
        paired = f"Parts of the two classes are paired {how}."
        whose = (
            "the edited network's logits"
            if self.first.edits or self.second.edits
            else "the black box's logits"
        )
        gap = number(abs(self.residual))
        check = (
            f"The differences add up to that of {whose}, whatever the pairs; the gap is "
            f"{gap}. Digits are rounded so that printed rows and columns add up too."
            if self.adds_up
            else f"The parts do not add up: they miss {gap} of the difference of {whose}."
        )
        edited = filter(None, (self.first.edited, self.second.edited))
        return (*edited, paired, check, self.first.inspection.exactness)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the pictures as plain values for JSON."""
        return {
            "image": self.first.name,
            "classes": [self.first.to_dict(), self.second.to_dict()],
            "pairs": [
                {
                    "prototypes": [pair.first + 1, pair.second + 1],
                    "difference": pair.difference,
                }
                for pair in self.pairs
            ],
            "bias": self.bias,
            "difference": self.difference,
            "residual": self.residual,
            "paired": "name" if self.by_name else "place",
            "notes": list(self.notes),
        }

    def drawn_as(self, kind: str) -> bytes:
        """Draw both classes' parts side by side, with their differences, as one picture."""
        from ppn.visualization.versus_figure import draw  # matplotlib takes its time

        return draw(self, kind)

    def _partners(self) -> list[int]:
        """For each part of the first class, the part of the second that stands beside it."""
        if self.by_name:
            return [self.second.titles.index(title) for title in self.first.titles]
        from scipy.optimize import linear_sum_assignment

        near = np.array([[_overlap(a, b) for b in self.second.maps] for a in self.first.maps])
        return [int(column) for column in linear_sum_assignment(-near)[1]]


def expect_two(first: Explanation, second: Explanation) -> None:
    """Refuse to hold a class against itself.

    Raises:
        DataError: If both explanations are of one class.
    """
    if first.label == second.label:
        raise DataError(
            f"{first.class_name} cannot be held against itself: choose another class for versus."
        )


def _overlap(a: NDArray[np.floating[Any]], b: NDArray[np.floating[Any]]) -> float:
    """Cosine of what two maps show of evidence, in [0, 1]."""
    one, two = (np.clip(np.asarray(grid, dtype=float), 0, None).ravel() for grid in (a, b))
    size = float(np.linalg.norm(one) * np.linalg.norm(two))
    return float(one @ two) / size if size > 0 else 0.0
