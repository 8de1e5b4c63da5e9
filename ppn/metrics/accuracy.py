"""How often are the network and the classifier behind it right?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ppn.metrics.means import MeanMetric

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from ppn.metrics.base import Ends, Observation
    from ppn.metrics.means import MeanResult


class Accuracy(MeanMetric):
    """Share of images whose class is predicted, by the sum of parts and by the black box."""

    title = "Accuracy"
    bounds = (0.0, 1.0)
    protocol = "accuracy"
    help = "Share of images whose class is predicted."
    of_maps = False
    per_prototype = False
    prefixed = False
    others: ClassVar[Mapping[str, Ends]] = {"blackbox_accuracy": (0, 1)}

    def observe(self, seen: Observation) -> None:
        """Add a batch."""
        self.update(seen.logits, seen.blackbox_logits, seen.batch["label"], seen.counts)

    def update(
        self,
        logits: Tensor,
        blackbox_logits: Tensor,
        labels: Tensor,
        counts: Tensor | None = None,
    ) -> None:
        """Add a batch.

        Args:
            logits: (B, C) sums of contributions plus bias.
            blackbox_logits: (B, C) the classifier's own output.
            labels: (B,) ground-truth classes.
            counts: See `add`.
        """
        self.add(logits.argmax(1) == labels, labels, counts)
        right = blackbox_logits.argmax(1) == labels
        self.add_other("blackbox_accuracy", right, labels, counts)

    def figures(self, result: MeanResult) -> dict[str, Any]:
        """Return both accuracies, and the number of images."""
        return {"images": int(result.images), **super().figures(result)}
