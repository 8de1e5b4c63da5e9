"""How often are the network and the classifier behind it right?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ppn.metrics.base import Metric

if TYPE_CHECKING:
    from typing_extensions import Self

    from ppn.metrics.base import EvaluationShape, Observation


class AccuracyResult(NamedTuple):
    """What `Accuracy.compute` returns, of all processes.

    `network` and `blackbox` () float32, shares of right predictions in [0, 1], 0 without images;
    `images` () int64.
    """

    network: Tensor
    blackbox: Tensor
    images: Tensor


class Accuracy(Metric):
    """Share of images whose class is predicted, by the sum of parts and by the black box."""

    title = "Accuracy"
    bounds = (0.0, 1.0)
    protocol = "accuracy"
    help = "Share of images whose class is predicted."
    of_maps = False

    correct: Tensor
    images: Tensor

    def setup(self, shape: EvaluationShape) -> Self:
        """Make the states."""
        del shape
        self.add_state("correct", torch.zeros(2, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        return self

    def observe(self, seen: Observation) -> None:
        """Add a batch."""
        self.update(seen.logits, seen.blackbox_logits, seen.batch["label"])

    def update(self, logits: Tensor, blackbox_logits: Tensor, labels: Tensor) -> None:
        """Add a batch.

        Args:
            logits: (B, C) sums of contributions plus bias.
            blackbox_logits: (B, C) the classifier's own output.
            labels: (B,) ground-truth classes.
        """
        predicted = torch.stack([logits.argmax(1), blackbox_logits.argmax(1)])
        self.correct += (predicted == labels).sum(1)
        self.images += len(labels)

    def compute(self) -> AccuracyResult:
        """Shares over all images; a collective call: every process must make it."""
        share = self.correct.float() / self.images.clamp(min=1).float()
        return AccuracyResult(share[0], share[1], self.images.clone())

    def figures(self, result: AccuracyResult) -> dict[str, Any]:
        """Return both accuracies, and the number of images."""
        return {
            "images": int(result.images),
            "accuracy": float(result.network),
            "blackbox_accuracy": float(result.blackbox),
        }
