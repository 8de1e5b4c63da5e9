"""What scores of pairs of maps have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ppn.metrics.base import Metric

if TYPE_CHECKING:
    from typing_extensions import Self

    from ppn.metrics.base import EvaluationShape


class DistinctResult(NamedTuple):
    """A score () in [0, 1] and how many images () it is the mean of.

    With one prototype per class nothing can coincide: then `images` is 0 and `score`, which
    means nothing, is 0.
    """

    score: Tensor
    images: Tensor


class PairMetric(Metric):
    """1 - the mean over images of how alike the pairs of their maps are."""

    bounds = (0.0, 1.0)

    total: Tensor
    images: Tensor

    def setup(self, shape: EvaluationShape) -> Self:
        """Make the states."""
        del shape
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        return self

    def _add(self, values: Tensor) -> None:
        self.total += values.sum()
        self.images += len(values)

    def compute(self) -> DistinctResult:
        """1 - the mean over all images; a collective call: every process must make it."""
        score = (self.images - self.total) / self.images.clamp(min=1)
        return DistinctResult(score, self.images.clone())

    def figures(self, result: DistinctResult) -> dict[str, Any]:
        """Return the score; None where there were no pairs."""
        return {self.key: float(result.score) if int(result.images) else None}
