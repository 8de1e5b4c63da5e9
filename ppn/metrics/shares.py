"""What each prototype contributes on average, and how often its class is recognised."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric


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

    Args:
        num_classes: Number of classes C.
        k: Prototypes per class k.
    """

    is_differentiable = False
    full_state_update = False

    contributions: Tensor
    correct: Tensor
    images: Tensor

    def __init__(self, num_classes: int, k: int) -> None:
        super().__init__()
        shape = (num_classes, k)
        total = torch.zeros(shape, dtype=torch.float64)
        count = torch.zeros(num_classes, dtype=torch.long)
        self.add_state("contributions", total, dist_reduce_fx="sum")
        self.add_state("correct", count, dist_reduce_fx="sum")
        self.add_state("images", count.clone(), dist_reduce_fx="sum")

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
