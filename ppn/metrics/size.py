"""How much must be read: parts of one explanation, and of all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ppn.metrics.compactness import effective_prototypes
from ppn.metrics.means import MeanMetric

if TYPE_CHECKING:
    from typing_extensions import Self

    from ppn.metrics.base import EvaluationShape, Observation


def needed_prototypes(contributions: Tensor, share: float) -> Tensor:
    """Which prototypes, from the largest on, carry a share of the positive contributions' sum.

    Args:
        contributions: (B, k).
        share: In (0, 1].

    Returns:
        (B, k) bool with `effective_prototypes` of each row.
    """
    count = effective_prototypes(contributions, share)
    order = contributions.argsort(dim=1, descending=True, stable=True)
    place = order.argsort(dim=1)
    return place < count[:, None]


class ExplanationSize(MeanMetric):
    """Parts for 90 % of the positive logit in an image, and distinct ones over all classes.

    Prototypes are of one class each; those that several classes share are counted for each.

    Args:
        share: Share of the positive logit, in (0, 1].
    """

    title = "Explanation size, local"
    higher_is_better = False
    protocol = "explanation-size"
    help = "Mean number of parts needed for most of the positive logit."
    per_prototype = False

    needed: Tensor

    def __init__(self, share: float = 0.9) -> None:
        super().__init__()
        self.share = share

    def setup(self, shape: EvaluationShape) -> Self:
        """Make the states."""
        needed = torch.zeros(shape.num_classes, shape.k, dtype=torch.long)
        self.add_state("needed", needed, dist_reduce_fx="sum")
        return super().setup(shape)

    def observe(self, seen: Observation) -> None:
        """Add a batch, if it has contributions."""
        if seen.contributions is not None:
            self.update(seen.contributions, seen.batch["label"], seen.counts)

    def update(self, contributions: Tensor, labels: Tensor, counts: Tensor | None = None) -> None:
        """Add a batch: (B, k) contributions to the logits of classes `labels`; see `add`."""
        values = contributions.double()
        chosen = needed_prototypes(values, self.share)
        self.needed.index_add_(0, labels, chosen.long())
        self.add(chosen.sum(1), labels, counts, chosen.any(1))

    def further(self) -> dict[str, Tensor]:
        """Return the global size: how many prototypes any image needed."""
        return {"global": (self.needed > 0).sum()}
