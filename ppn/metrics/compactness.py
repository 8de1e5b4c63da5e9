"""How few prototypes carry a decision?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from ppn.metrics.means import MeanMetric

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ppn.metrics.base import Ends, Observation


def gini(contributions: Tensor) -> Tensor:
    """Gini coefficient of the contributions' absolute values: 0 all equal, 1 - 1/k one alone.

    Args:
        contributions: (B, k) real values.

    Returns:
        (B,) in [0, 1 - 1/k]; 0 where all are 0.
    """
    size = contributions.abs().sort(dim=1).values
    k = size.shape[1]
    rank = torch.arange(1, k + 1, device=size.device, dtype=size.dtype)
    total = size.sum(1)
    return _ratio((size * (2 * rank - k - 1)).sum(1), k * total)


def hoyer(contributions: Tensor) -> Tensor:
    """Hoyer's sparsity (sqrt(k) - L1 / L2) / (sqrt(k) - 1): 0 all equal, 1 one alone.

    Args:
        contributions: (B, k) real values.

    Returns:
        (B,) in [0, 1]; 0 where all are 0 or k = 1.
    """
    k = contributions.shape[1]
    norm = torch.linalg.vector_norm(contributions, dim=1)
    sparse = k**0.5 * norm - contributions.abs().sum(1)
    return _ratio(sparse, (k**0.5 - 1) * norm).clamp(0, 1)


def effective_prototypes(contributions: Tensor, share: float = 0.9) -> Tensor:
    """K_eff: least number of prototypes whose sum is `share` of the positive contributions' sum.

    Args:
        contributions: (B, k) real values.
        share: In (0, 1].

    Returns:
        (B,) int64 in [1, k]; 0 where no contribution is positive.
    """
    running = contributions.clamp(min=0).sort(dim=1, descending=True).values.cumsum(1)
    total = running[:, -1:]
    return ((running < share * total).sum(1) + 1) * (total[:, 0] > 0)


class Compactness(MeanMetric):
    """Negative share, Gini, Hoyer and K_eff of one class's contributions per image.

    Args:
        share: The share of the positive logit that K_eff asks for, in (0, 1].
    """

    key = "effective_prototypes"
    title = "Effective prototypes"
    higher_is_better = None
    protocol = "compactness"
    help = (
        "Mean number of prototypes needed for most of the positive logit: 1 where one alone "
        "decides, k where all count alike."
    )

    per_prototype = False
    prefixed = False

    others: ClassVar[Mapping[str, Ends]] = {
        "negative_share": (0, 1),
        "gini": (0, 1),
        "hoyer": (0, 1),
    }

    def __init__(self, share: float = 0.9) -> None:
        super().__init__()
        self.share = share

    @property
    def constants(self) -> dict[str, Any]:
        """What the numbers depend on."""
        return {"share": self.share, "gini_and_hoyer_of": "absolute contributions"}

    def observe(self, seen: Observation) -> None:
        """Add a batch, if it has contributions."""
        if seen.contributions is not None:
            self.update(seen.contributions, seen.batch["label"], seen.counts)

    def update(
        self, contributions: Tensor, labels: Tensor | None = None, counts: Tensor | None = None
    ) -> None:
        """Add a batch: (B, k) contributions of one class per image, without the bias; see `add`."""
        values = contributions.double()
        effective = effective_prototypes(values, self.share)
        self.add(effective, labels, counts, effective > 0)
        for name, value in (
            ("negative_share", (values < 0).double().mean(1)),
            ("gini", gini(values)),
            ("hoyer", hoyer(values)),
        ):
            self.add_other(name, value, labels, counts)


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """Part over whole, 0 where the whole is 0."""
    return torch.where(whole == 0, 0, part / whole)
