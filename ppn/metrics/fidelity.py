"""Is the sum of contributions really the black box's logit?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ppn.metrics.base import Metric

if TYPE_CHECKING:
    from typing_extensions import Self

    from ppn.metrics.base import EvaluationShape, Observation


class FidelityResult(NamedTuple):
    """What `Fidelity.compute` returns, of all processes; float64 scalars but for `images`.

    `agreement` share of images with the same argmax, in [0, 1]; `max_logit_error` and
    `mean_logit_error` the absolute difference over all images and classes; `logit_std` standard
    deviation of all the black box's logits; `max_relative_error` and `mean_relative_error` the
    errors over that; `images` int64. Without images all are 0.
    """

    agreement: Tensor
    max_logit_error: Tensor
    mean_logit_error: Tensor
    logit_std: Tensor
    max_relative_error: Tensor
    mean_relative_error: Tensor
    images: Tensor


class Fidelity(Metric):
    """Agreement with the black box: argmax, and |logit - (sum of contributions + bias)|."""

    key = "agreement"
    title = "Agreement with the black box"
    bounds = (0.0, 1.0)
    protocol = "fidelity"
    help = "Share of images on which parts and black box predict the same class."
    of_maps = False

    agreeing: Tensor
    images: Tensor
    logits: Tensor
    error_max: Tensor
    error_sum: Tensor
    logit_sum: Tensor
    logit_square: Tensor

    def setup(self, shape: EvaluationShape) -> Self:
        """Make the states."""
        del shape
        for name in ("agreeing", "images", "logits"):
            self.add_state(name, torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        for name in ("error_sum", "logit_sum", "logit_square"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("error_max", torch.zeros((), dtype=torch.float64), dist_reduce_fx="max")
        return self

    @property
    def constants(self) -> dict[str, Any]:
        """What the numbers depend on."""
        return {"relative_to": "standard deviation of the black box's logits"}

    def observe(self, seen: Observation) -> None:
        """Add a batch."""
        self.update(seen.logits, seen.blackbox_logits)

    def update(self, logits: Tensor, blackbox_logits: Tensor) -> None:
        """Add a batch.

        Args:
            logits: (B, C) sums of contributions plus bias.
            blackbox_logits: (B, C) the classifier's own output.
        """
        if not len(logits):
            return
        self.agreeing += (logits.argmax(1) == blackbox_logits.argmax(1)).sum()
        target = blackbox_logits.double()
        error = (logits.double() - target).abs()
        self.images += len(logits)
        self.logits += target.numel()
        self.error_max = torch.maximum(self.error_max, error.max())
        self.error_sum += error.sum()
        self.logit_sum += target.sum()
        self.logit_square += target.square().sum()

    def compute(self) -> FidelityResult:
        """Figures over all images; a collective call: every process must make it."""
        count = self.logits.clamp(min=1)
        mean_error = self.error_sum / count
        variance = self.logit_square / count - (self.logit_sum / count).square()
        std = variance.clamp(min=0).sqrt()
        return FidelityResult(
            agreement=self.agreeing.double() / self.images.clamp(min=1),
            max_logit_error=self.error_max.clone(),
            mean_logit_error=mean_error,
            logit_std=std,
            max_relative_error=_relative(self.error_max, std),
            mean_relative_error=_relative(mean_error, std),
            images=self.images.clone(),
        )

    def figures(self, result: FidelityResult) -> dict[str, Any]:
        """Return the agreement and the errors of logits."""
        return {
            "agreement": float(result.agreement),
            "max_logit_error": float(result.max_logit_error),
            "mean_logit_error": float(result.mean_logit_error),
            "max_relative_logit_error": float(result.max_relative_error),
        }


def _relative(error: Tensor, std: Tensor) -> Tensor:
    """Error over std; no error is 0 also where all logits are the same."""
    return torch.where(error == 0, error, error / std)
