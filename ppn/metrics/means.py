"""Scores that are means over images, or over images and prototypes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from ppn.metrics.base import Metric
from ppn.metrics.resampling import DRAWS, Values, known_draws

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

    from ppn.metrics.base import Ends, EvaluationShape


class Sums(NamedTuple):
    """What a figure beside a score is the mean of; all float64.

    `total` and `known` (C,), sums and numbers of values of each class; `drawn` (2, R), both over
    images drawn again.
    """

    total: Tensor
    known: Tensor
    drawn: Tensor


class MeanResult(NamedTuple):
    """What the `compute` of a `MeanMetric` returns, of all processes; all float64 but for `images`.

    `score` (), the mean; `total` and `known` (C, m), sums and numbers of values of each class, in
    one column for each prototype, or one for all; `drawn` (2, R), both over images drawn again;
    `images` () int64, how many had a value; `others`, sums of figures beside the score that are
    means too, and `further`, figures that are none, both by the end of their names; `curves`
    (C, n), sums of each class's curves, None where there are none. Without any value the score,
    which means nothing, is 0.
    """

    score: Tensor
    total: Tensor
    known: Tensor
    drawn: Tensor
    images: Tensor
    others: dict[str, Sums]
    further: dict[str, Tensor]
    curves: Tensor | None = None


class MeanMetric(Metric):
    """The mean of values that an image gives, one for each prototype or one for all.

    Attributes:
        per_prototype: Whether it is one for each.
        scale: What a mean is multiplied by: 100 for percent.
        others: Figures beside the score that are means of what images give, by the end of their
            names, with the ends of their scales.
        prefixed: Whether the names of all figures beside the score begin with its key.
    """

    per_prototype = True
    scale = 1.0
    others: ClassVar[Mapping[str, Ends]] = {}
    prefixed = True

    total: Tensor
    count: Tensor
    drawn: Tensor
    images: Tensor
    other_total: Tensor
    other_count: Tensor
    other_drawn: Tensor

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
        if self.others:
            each = torch.zeros(len(self.others), shape.num_classes, dtype=torch.float64)
            drawn = torch.zeros(len(self.others), 2, DRAWS, dtype=torch.float64)
            self.add_state("other_total", each, dist_reduce_fx="sum")
            self.add_state("other_count", each.clone(), dist_reduce_fx="sum")
            self.add_state("other_drawn", drawn, dist_reduce_fx="sum")
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
        value, there, labels = _told(values, labels, known)
        self.total.index_add_(0, labels, value)
        self.count.index_add_(0, labels, there)
        self.images += there.any(1).sum()
        if counts is not None:
            self.drawn += torch.stack([value.sum(1), there.sum(1)]) @ counts

    def add_other(
        self,
        name: str,
        values: Tensor,
        labels: Tensor | None = None,
        counts: Tensor | None = None,
        known: Tensor | None = None,
    ) -> None:
        """Add a batch of a figure beside the score: one of `others`; for the rest see `add`."""
        place = list(self.others).index(name)
        value, there, labels = _told(values, labels, known)
        sums = torch.stack([value.sum(1), there.sum(1)])
        self.other_total[place].index_add_(0, labels, sums[0])
        self.other_count[place].index_add_(0, labels, sums[1])
        if counts is not None:
            self.other_drawn[place] += sums @ counts

    def compute(self) -> MeanResult:
        """The mean over all values; a collective call: every process must make it."""
        score = self.scale * self.total.sum() / self.count.sum().clamp(min=1)
        states = (state.clone() for state in (self.total, self.count, self.drawn, self.images))
        total, known, drawn, images = states
        others = {
            name: Sums(
                self.other_total[place].clone(),
                self.other_count[place].clone(),
                self.other_drawn[place].clone(),
            )
            for place, name in enumerate(self.others)
        }
        return MeanResult(score, total, known, drawn, images, others, self.further())

    def further(self) -> dict[str, Tensor]:
        """Return what else is to be told, by the end of its name: numbers, or curves."""
        return {}

    def named(self, other: str) -> str:
        """Return the name of a figure beside the score from the end of its name."""
        return f"{self.key}_{other}" if self.prefixed else other

    def figures(self, result: MeanResult) -> dict[str, Any]:
        """Return the score, and what else there is, `named`; None without a value."""
        known = int(result.images) > 0
        told: dict[str, Any] = {self.key: float(result.score) if known else None}
        for name, sums in result.others.items():
            count = float(sums.known.sum())
            told[self.named(name)] = float(sums.total.sum()) / count if count else None
        for name, value in result.further.items():
            told[self.named(name)] = value.tolist() if known else None
        return told

    def values(self, result: MeanResult) -> Values:
        """Return the means of classes, of prototypes and of draws."""
        total, count = self.scale * result.total, result.known
        top, bottom = result.drawn
        return Values(
            total.sum(1) / count.sum(1),  # NaN without a value
            total / count if self.per_prototype else None,
            known_draws(self.scale * top / bottom),
        )

    def beside(self, result: MeanResult) -> dict[str, Values]:
        """Return the means of classes and of draws of `others`."""
        return {
            self.named(name): Values(
                sums.total / sums.known, draws=known_draws(sums.drawn[0] / sums.drawn[1])
            )
            for name, sums in result.others.items()
        }

    @property
    def beside_bounds(self) -> dict[str, Ends]:
        """Ends of the scales of `others`."""
        return {self.named(name): ends for name, ends in self.others.items()}


def _told(
    values: Tensor, labels: Tensor | None, known: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Values (B, m) float64, 0 where there is none; 1 where there is one; the class of each."""
    value = values.double().reshape(len(values), -1)
    there = torch.ones_like(value) if known is None else known.double().reshape(value.shape)
    if labels is None:
        labels = torch.zeros(len(value), dtype=torch.long, device=value.device)
    return torch.where(there > 0, value, 0.0), there, labels
