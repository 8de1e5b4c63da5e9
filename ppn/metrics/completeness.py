"""Do maps average to what they explain?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ppn.metrics.means import MeanMetric

if TYPE_CHECKING:
    from typing_extensions import Self

    from ppn.metrics.base import EvaluationShape, Observation
    from ppn.metrics.means import MeanResult


class Completeness(MeanMetric):
    """How far the mean of a map is from the contribution that the map shows the place of.

    Rounding where contributions are sums over patches; the price of the gradient where layers come
    in between. Beside the mean the largest error of a map.
    """

    key = "completeness_error"
    title = "Completeness error of maps"
    higher_is_better = False
    protocol = "completeness"
    help = (
        "Mean distance of a map's mean from its contribution, over the contributions' standard "
        "deviation."
    )
    prefixed = False

    error_max: Tensor
    wanted: Tensor
    square: Tensor

    def setup(self, shape: EvaluationShape) -> Self:
        """Make the states."""
        for name in ("wanted", "square"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("error_max", torch.zeros((), dtype=torch.float64), dist_reduce_fx="max")
        return super().setup(shape)

    @property
    def constants(self) -> dict[str, Any]:
        """What the numbers depend on."""
        return {"relative_to": "standard deviation of the contributions"}

    def observe(self, seen: Observation) -> None:
        """Add a batch, if its maps are meant to average to contributions."""
        if seen.additive and seen.contributions is not None:
            labels = seen.batch["label"]
            self.update(seen.maps, seen.contributions, seen.elsewhere, labels, seen.counts)

    def update(
        self,
        maps: Tensor,
        contributions: Tensor,
        elsewhere: Tensor | None = None,
        labels: Tensor | None = None,
        counts: Tensor | None = None,
    ) -> None:
        """Add a batch; for `labels` and `counts` see `add`.

        Args:
            maps: (B, k, H, W).
            contributions: (B, k) of the same prototypes to the same logits.
            elsewhere: (B, k) what of these the maps leave out and say so; None for nothing.
            labels: (B,).
            counts: (B, R).
        """
        if not contributions.numel():
            return
        wanted = contributions.double()
        told = maps.double().mean(dim=(2, 3))
        error = ((told if elsewhere is None else told + elsewhere) - wanted).abs()
        self.add(error, labels, counts)
        self.error_max = torch.maximum(self.error_max, error.max())
        self.wanted += wanted.sum()
        self.square += wanted.square().sum()

    def compute(self) -> MeanResult:
        """Figures over all maps; a collective call: every process must make it."""
        mean = super().compute()
        count = mean.known.sum().clamp(min=1)
        variance = self.square / count - (self.wanted / count).square()
        spread = variance.clamp(min=torch.finfo(torch.float64).tiny).sqrt()
        return mean._replace(
            score=mean.score / spread,
            total=mean.total / spread,
            drawn=torch.stack([mean.drawn[0] / spread, mean.drawn[1]]),
            further={"max_completeness_error": self.error_max / spread},
        )
