"""What each prototype contributes on average, and how often its class is recognised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ppn.metrics.base import Metric

if TYPE_CHECKING:
    from typing_extensions import Self

    from ppn.metrics.base import EvaluationShape, Observation


class ShareResult(NamedTuple):
    """What `ClassShares.compute` returns, of all processes.

    `share` (C, k) float64, mean contribution over the mean logit without bias; `accuracy` (C,)
    float64 in [0, 1]; `images` (C,) int64. Rows of classes without images are 0.
    """

    share: Tensor
    accuracy: Tensor
    images: Tensor


class ClassShares(Metric):
    """Mean contribution of each prototype to its own class's logit, and accuracy per class.

    Not a score: the report shows it beside each prototype and class.
    """

    of_maps = False

    contributions: Tensor
    correct: Tensor
    images: Tensor

    def setup(self, shape: EvaluationShape) -> Self:
        """Make the states."""
        total = torch.zeros(shape.num_classes, shape.k, dtype=torch.float64)
        count = torch.zeros(shape.num_classes, dtype=torch.long)
        self.add_state("contributions", total, dist_reduce_fx="sum")
        self.add_state("correct", count, dist_reduce_fx="sum")
        self.add_state("images", count.clone(), dist_reduce_fx="sum")
        return self

    def observe(self, seen: Observation) -> None:
        """Add a batch, if it has contributions."""
        if seen.contributions is not None:
            self.update(seen.contributions, seen.batch["label"], seen.logits.argmax(1))

    def update(self, contributions: Tensor, labels: Tensor, predictions: Tensor) -> None:
        """Add a batch.

        Args:
            contributions: (B, k) to the logit of the ground-truth class, without bias.
            labels: (B,) ground-truth classes.
            predictions: (B,) predicted classes.
        """
        self.contributions.index_add_(0, labels, contributions.double())
        self.correct.index_add_(0, labels, (labels == predictions).long())
        self.images.index_add_(0, labels, torch.ones_like(labels))

    def compute(self) -> ShareResult:
        """Figures over all images; a collective call: every process must make it."""
        total = self.contributions.sum(-1, keepdim=True)
        return ShareResult(
            share=torch.where(total == 0, 0.0, self.contributions / total),
            accuracy=self.correct.double() / self.images.clamp(min=1),
            images=self.images.clone(),
        )

    def figures(self, result: ShareResult) -> dict[str, Any]:
        """Return nothing: all it knows is per class."""
        del result
        return {}
