"""Is the sum of contributions really the black box's logit?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ppn.metrics.means import MeanMetric

if TYPE_CHECKING:
    from typing_extensions import Self

    from ppn.metrics.base import EvaluationShape, Observation


class Fidelity(MeanMetric):
    """Agreement with the black box: argmax, and |logit - (sum of contributions + bias)|.

    Beside the agreement, over all images and classes: the largest and the mean error of logits,
    their standard deviation, and both errors over that.
    """

    key = "agreement"
    title = "Agreement with the black box"
    bounds = (0.0, 1.0)
    protocol = "fidelity"
    help = "Share of images on which parts and black box predict the same class."
    of_maps = False
    per_prototype = False
    prefixed = False

    logits: Tensor
    error_max: Tensor
    error_sum: Tensor
    logit_sum: Tensor
    logit_square: Tensor

    def setup(self, shape: EvaluationShape) -> Self:
        """Make the states."""
        self.add_state("logits", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        for name in ("error_sum", "logit_sum", "logit_square"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("error_max", torch.zeros((), dtype=torch.float64), dist_reduce_fx="max")
        return super().setup(shape)

    @property
    def constants(self) -> dict[str, Any]:
        """What the numbers depend on."""
        return {"relative_to": "standard deviation of the black box's logits"}

    def observe(self, seen: Observation) -> None:
        """Add a batch."""
        self.update(seen.logits, seen.blackbox_logits, seen.batch["label"], seen.counts)

    def update(
        self,
        logits: Tensor,
        blackbox_logits: Tensor,
        labels: Tensor | None = None,
        counts: Tensor | None = None,
    ) -> None:
        """Add a batch.

        Args:
            logits: (B, C) sums of contributions plus bias.
            blackbox_logits: (B, C) the classifier's own output.
            labels: (B,) ground-truth classes; see `add`.
            counts: See `add`.
        """
        if not len(logits):
            return
        self.add(logits.argmax(1) == blackbox_logits.argmax(1), labels, counts)
        target = blackbox_logits.double()
        error = (logits.double() - target).abs()
        self.logits += target.numel()
        self.error_max = torch.maximum(self.error_max, error.max())
        self.error_sum += error.sum()
        self.logit_sum += target.sum()
        self.logit_square += target.square().sum()

    def further(self) -> dict[str, Tensor]:
        """Return the errors of logits and their scale."""
        count = self.logits.clamp(min=1)
        mean_error = self.error_sum / count
        variance = self.logit_square / count - (self.logit_sum / count).square()
        std = variance.clamp(min=0).sqrt()
        return {
            "max_logit_error": self.error_max.clone(),
            "mean_logit_error": mean_error,
            "logit_std": std,
            "max_relative_logit_error": _relative(self.error_max, std),
            "mean_relative_logit_error": _relative(mean_error, std),
        }


def _relative(error: Tensor, std: Tensor) -> Tensor:
    """Error over std; no error is 0 also where all logits are the same."""
    return torch.where(error == 0, error, error / std)
