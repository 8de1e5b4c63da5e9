"""Are the same parts found again, with another seed or from the other half of the images?

The parts of a class are matched by the Hungarian method.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from scipy.optimize import linear_sum_assignment

from ppn.metrics.means import MeanMetric

if TYPE_CHECKING:
    from torch import Tensor
    from typing_extensions import Self

    from ppn.metrics.base import EvaluationShape, Observation


def matched_cosines(first: Tensor, second: Tensor) -> Tensor:
    """Cosine of each prototype with the one that it is matched with; see `dictionary_agreement`.

    Returns:
        (C, k) float64 in [-1, 1]; a zero vector has the cosine 0 with all; NaN for what is left
        without a match.
    """
    units = [
        torch.nn.functional.normalize(directions.double(), dim=2) for directions in (first, second)
    ]
    similar = (units[0] @ units[1].mT).cpu()
    found = torch.full(first.shape[:2], torch.nan, dtype=torch.float64)
    for row, cosines in zip(found, similar, strict=True):
        rows, columns = map(torch.from_numpy, linear_sum_assignment(1 - cosines.numpy()))
        row[rows] = cosines[rows, columns]
    return found


def dictionary_agreement(first: Tensor, second: Tensor) -> Tensor:
    """Mean cosine of the prototypes of each class with those they are matched with.

    Matched so that the sum of 1 - cos is smallest (Hungarian method). With unequal numbers the
    smaller set is matched, and the rest of the larger one is left out.

    Args:
        first: (C, k, D) of one fit.
        second: (C, m, D) of another one.

    Returns:
        (C,) float64 in [-1, 1]; a zero vector has the cosine 0 with all.
    """
    return matched_cosines(first, second).nanmean(1)


class DictionaryAgreement(MeanMetric):
    """Mean cosine of a class's parts with those that are found again, matched one to one.

    The explainer learns twice, with seeds that differ by one, and each time from another half of
    each class's images. Of explainers whose parts are no directions there is none, nor where a
    class has one image. What random directions reach is chance.

    Args:
        halves: Whether each learns from a half; else both learn from all images.
    """

    title = "Agreement of dictionaries"
    bounds = (-1.0, 1.0)
    protocol = "dictionary-agreement"
    help = "Mean cosine of parts with those that another seed finds, in other images."
    needs = frozenset({"again"})
    placed = True

    def __init__(self, halves: bool = True) -> None:
        super().__init__()
        self.halves = halves

    def setup(self, shape: EvaluationShape) -> Self:
        """Make the states."""
        self._asked = False
        return super().setup(shape)

    def reset(self) -> None:
        """Forget what was found."""
        super().reset()
        self._asked = False

    def observe(self, seen: Observation) -> None:
        """Take what is found again, once: it does not depend on the images that are scored."""
        if not self._asked and seen.again is not None:
            pair = seen.again(self.halves)
            if pair is not None:
                self.update(*pair)
            self._asked = True

    def update(self, first: Tensor, second: Tensor) -> None:
        """Add two dictionaries (C, k, D) and (C, m, D); a class that one of them lacks is left out.

        Added several times, by several processes too, the same ones change nothing.
        """
        cosines = matched_cosines(first, second).to(first.device)
        there = (first != 0).any(2) & (second != 0).flatten(1).any(1)[:, None] & ~cosines.isnan()
        self.add(cosines, torch.arange(len(first), device=first.device), None, there)
