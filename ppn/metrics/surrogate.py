"""Is the explanation, taken as a linear surrogate, the classifier (SURF)?

Kumar and Ahuja, "SURF", CVPR 2026 (arXiv 2504.10833).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppn.metrics.means import MeanMetric

if TYPE_CHECKING:
    from torch import Tensor

    from ppn.metrics.base import Observation


class _Surrogate(MeanMetric):
    """What both errors share: an explainer that says nothing of logits has none."""

    higher_is_better = False
    protocol = "surf-2026"
    needs = frozenset({"model"})
    per_prototype = False

    def observe(self, seen: Observation) -> None:
        """Add a batch, if the explanation says what the logits are."""
        assert seen.probe is not None
        estimate = seen.probe.surrogate
        if estimate is not None:
            labels = seen.batch["label"]
            self.update(estimate, seen.blackbox_logits, labels, seen.counts)

    def update(
        self,
        estimate: Tensor,
        logits: Tensor,
        labels: Tensor | None = None,
        counts: Tensor | None = None,
    ) -> None:
        """Add a batch.

        Args:
            estimate: (B, C) importance times activation, summed over the concepts of each class.
            logits: (B, C) the classifier's own.
            labels: See `add`.
            counts: See `add`.
        """
        self.add(self._error(estimate.double(), logits.double()), labels, counts)

    def _error(self, estimate: Tensor, logits: Tensor) -> Tensor:
        raise NotImplementedError


class SurfMAE(_Surrogate):
    """Mean over images and classes of |logit - surrogate|.

    0 by construction for an exact decomposition, and so for random directions made exact: it says
    that an explanation is complete, not that its parts mean anything.
    """

    title = "SURF, logits"
    help = "Mean distance of the logits from those that the explanation adds up to, of all classes."

    def _error(self, estimate: Tensor, logits: Tensor) -> Tensor:
        return (logits - estimate).abs().mean(1)


class SurfEMD(_Surrogate):
    """Mean over images of half the L1 distance of both softmax distributions; see `SurfMAE`."""

    title = "SURF, probabilities"
    bounds = (0.0, 1.0)
    help = "Half the distance of the probabilities from those that the explanation adds up to."

    def _error(self, estimate: Tensor, logits: Tensor) -> Tensor:
        return (logits.softmax(1) - estimate.softmax(1)).abs().sum(1) / 2
