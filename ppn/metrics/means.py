"""Scores that are means over images, or over images and prototypes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ppn.metrics.base import Metric
from ppn.metrics.resampling import DRAWS, Values, known_draws

if TYPE_CHECKING:
    from typing_extensions import Self

    from ppn.metrics.base import EvaluationShape


class MeanResult(NamedTuple):
    """What the `compute` of a `MeanMetric` returns, of all processes; all float64 but for `images`.

    `score` (), the mean; `total` and `known` (C, m), sums and numbers of values of each class, in
    one column for each prototype, or one for all; `drawn` (2, R), both over images drawn again;
    `images` () int64, how many had a value; `further`, figures beside the score, by the end of
    their names; `curves` (C, n), sums of each class's curves, None where there are none. Without
    any value the score, which means nothing, is 0.
    """

    score: Tensor
    total: Tensor
    known: Tensor
    drawn: Tensor
    images: Tensor
    further: dict[str, Tensor]
    curves: Tensor | None = None


class MeanMetric(Metric):
    """The mean of values that an image gives, one for each prototype or one for all.

    Attributes:
        per_prototype: Whether it is one for each.
        scale: What a mean is multiplied by: 100 for percent.
    """

    per_prototype = True
    scale = 1.0

    total: Tensor
    count: Tensor
    drawn: Tensor
    images: Tensor

    def setup(self, shape: EvaluationShape) -> Self:
        """Make the states."""
        cells = torch.zeros(
            shape.num_classes, shape.k if self.per_prototype else 1, dtype=torch.float64
        )
        drawn = torch.zeros(2, DRAWS, dtype=torch.float64)
        self.add_state("total", cells, dist_reduce_fx="sum")
        self.add_state("count", cells.clone(), dist_reduce_fx="sum")
        self.add_state("drawn", drawn, dist_reduce_fx="sum")
        self.add_state("images", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        return self

    def add(
        self,
        values: Tensor,
        labels: Tensor | None = None,
        counts: Tensor | None = None,
        known: Tensor | None = None,
    ) -> None:
        """Add a batch.

        Args:
            values: (B, m), or (B,) where there is one for all.
            labels: (B,) the class of each image; None: they are of one class.
            counts: (B, R) of `image_counts`; None: nothing is drawn again.
            known: (B, m) bool, or (B,), which of them are values; None: all.
        """
        value = values.double().reshape(len(values), -1)
        there = torch.ones_like(value) if known is None else known.double().reshape(value.shape)
        value = torch.where(there > 0, value, 0.0)
        if labels is None:
            labels = torch.zeros(len(value), dtype=torch.long, device=value.device)
        self.total.index_add_(0, labels, value)
        self.count.index_add_(0, labels, there)
        self.images += there.any(1).sum()
        if counts is not None:
            self.drawn += torch.stack([value.sum(1), there.sum(1)]) @ counts

    def compute(self) -> MeanResult:
        """The mean over all values; a collective call: every process must make it."""
        score = self.scale * self.total.sum() / self.count.sum().clamp(min=1)
        states = (state.clone() for state in (self.total, self.count, self.drawn, self.images))
        total, known, drawn, images = states
        return MeanResult(score, total, known, drawn, images, self.further())

    def further(self) -> dict[str, Tensor]:
        """Return what else is to be told, by the end of its name: numbers, or curves."""
        return {}

    def figures(self, result: MeanResult) -> dict[str, Any]:
        """Return the score, and what else there is under `KEY_NAME`; None without a value."""
        told = {self.key: result.score}
        told |= {f"{self.key}_{name}": value for name, value in result.further.items()}
        known = int(result.images) > 0
        return {name: value.tolist() if known else None for name, value in told.items()}

    def values(self, result: MeanResult) -> Values:
        """Return the means of classes, of prototypes and of draws."""
        total, count = self.scale * result.total, result.known
        top, bottom = result.drawn
        return Values(
            total.sum(1) / count.sum(1),  # NaN without a value
            total / count if self.per_prototype else None,
            known_draws(self.scale * top / bottom),
        )
