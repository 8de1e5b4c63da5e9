"""Scores that are mean areas under curves, and the mean curve of each class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ppn.metrics.means import MeanMetric

if TYPE_CHECKING:
    from ppn.metrics.means import MeanResult
    from ppn.metrics.resampling import Values


def area(curve: Tensor) -> Tensor:
    """(B, n + 1) values of a curve -> (B,): (sum s - s_0/2 - s_n/2) / n."""
    return (curve.sum(1) - (curve[:, 0] + curve[:, -1]) / 2) / (curve.shape[1] - 1)


class CurveMetric(MeanMetric):
    """The mean area under a curve of each image."""

    per_prototype = False

    curve: Tensor

    def add_curve_state(self, classes: int, steps: int) -> None:
        """Make the state of curves of `steps` + 1 values."""
        curve = torch.zeros(classes, steps + 1, dtype=torch.float64)
        self.add_state("curve", curve, dist_reduce_fx="sum")

    def add_curves(
        self, curves: Tensor, labels: Tensor | None = None, counts: Tensor | None = None
    ) -> None:
        """Add a batch: curves (B, steps + 1) float64; for the rest see `add`."""
        rows = curves.new_zeros(len(curves), dtype=torch.long) if labels is None else labels
        self.curve.index_add_(0, rows, curves)
        self.add(area(curves), labels, counts)

    def compute(self) -> MeanResult:
        """The mean over all images; a collective call: every process must make it."""
        return super().compute()._replace(curves=self.curve.clone())

    def further(self) -> dict[str, Tensor]:
        """Return the mean curve (steps + 1,)."""
        return {"curve": self.curve.sum(0) / self.images.clamp(min=1)}

    def values(self, result: MeanResult) -> Values:
        """Return the same as of every mean, and the mean curve of each class."""
        assert result.curves is not None
        return super().values(result)._replace(curves=result.curves / result.known)
