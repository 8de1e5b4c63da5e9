"""Are the same parts found again, with another seed or from the other half of the images?

The parts of a class are matched by the Hungarian method.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from scipy.optimize import linear_sum_assignment

from ppn.errors import PPNError
from ppn.metrics.means import MeanMetric
from ppn.metrics.resampling import jackknife_draws

if TYPE_CHECKING:
    from torch import Tensor
    from typing_extensions import Self

    from ppn.metrics.base import EvaluationShape, Observation
    from ppn.metrics.means import MeanResult
    from ppn.metrics.resampling import Values


def matched_cosines(first: Tensor, second: Tensor) -> Tensor:
    """Cosine of each prototype with the one that it is matched with; see `dictionary_agreement`.

    Returns:
        (C, k) float64 in [-1, 1]; a zero vector has the cosine 0 with all; NaN for what is left
        without a match.
    """
    units = [
        torch.nn.functional.normalize(directions.double(), dim=2) for directions in (first, second)
    ]
    similar = (units[0] @ units[1].mT).clamp(-1, 1).cpu()
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
        groups: Into how many groups the images are divided that each learns from, to leave out one
            after the other: the interval over images is the jackknife's. Each costs learning twice
            more, so there is none by default.
    """

    title = "Agreement of dictionaries"
    bounds = (-1.0, 1.0)
    protocol = "dictionary-agreement"
    help = "Mean cosine of parts with those that another seed finds, in other images."
    needs = frozenset({"again"})
    placed = True

    without: Tensor

    def __init__(self, halves: bool = True, groups: int = 0) -> None:
        super().__init__()
        if groups == 1 or groups < 0:
            raise PPNError(f"groups of {self.key} is {groups}, but must be 0 or at least 2.")
        self.halves = halves
        self.groups = groups

    def setup(self, shape: EvaluationShape) -> Self:
        """Make the states."""
        self._asked = False
        without = torch.zeros(2, self.groups, dtype=torch.float64)
        self.add_state("without", without, dist_reduce_fx="sum")
        return super().setup(shape)

    def reset(self) -> None:
        """Forget what was found."""
        super().reset()
        self._asked = False

    def observe(self, seen: Observation) -> None:
        """Take what is found again, once: it does not depend on the images that are scored."""
        if not self._asked and seen.again is not None:
            pair = seen.again(self.halves, None)
            if pair is not None:
                self.update(*pair)
                for group in range(self.groups):
                    left = seen.again(self.halves, (group, self.groups))
                    if left is not None:
                        self.leave_out(group, *left)
            self._asked = True

    def update(self, first: Tensor, second: Tensor) -> None:
        """Add two dictionaries (C, k, D) and (C, m, D); a class that one of them lacks is left out.

        Added several times, by several processes too, the same ones change nothing.
        """
        cosines, there = _known_cosines(first, second)
        self.add(cosines, torch.arange(len(first), device=first.device), None, there)

    def leave_out(self, group: int, first: Tensor, second: Tensor) -> None:
        """Add what was learned without one of the groups; see `update`."""
        cosines, there = _known_cosines(first, second)
        told = torch.stack([cosines[there].sum(), there.sum()])
        self.without[:, group] += told.to(self.without)

    def compute(self) -> MeanResult:
        """The mean over all values; a collective call: every process must make it."""
        return super().compute()._replace(drawn=self.without.clone())

    def values(self, result: MeanResult) -> Values:
        """Return the means of classes and of prototypes, and draws by `jackknife_draws`."""
        found = super().values(result)
        if found.draws is None:
            return found
        return found._replace(draws=jackknife_draws(result.score, found.draws))


def _known_cosines(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines (C, k) of what was matched, and which of them are of parts that there are."""
    cosines = matched_cosines(first, second).to(first.device)
    there = (first != 0).any(2) & (second != 0).flatten(1).any(1)[:, None] & ~cosines.isnan()
    return cosines, there
