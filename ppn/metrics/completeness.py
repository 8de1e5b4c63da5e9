"""Do maps average to what they explain?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ppn.metrics.base import Metric

if TYPE_CHECKING:
    from typing_extensions import Self

    from ppn.metrics.base import EvaluationShape, Observation


class CompletenessResult(NamedTuple):
    """What `Completeness.compute` returns, of all processes; float64 scalars but for `maps`.

    `error` mean, `max_error` largest |mean of a map - contribution| over the contributions'
    standard deviation; `maps` int64, their number. Without maps all are 0.
    """

    error: Tensor
    max_error: Tensor
    maps: Tensor


class Completeness(Metric):
    """How far the mean of a map is from the contribution that the map shows the place of.

    Rounding where contributions are sums over patches; the price of the gradient where layers come
    in between.
    """

    key = "completeness_error"
    title = "Completeness error of maps"
    higher_is_better = False
    protocol = "completeness"
    help = (
        "Mean distance of a map's mean from its contribution, over the contributions' standard "
        "deviation."
    )

    maps: Tensor
    error_sum: Tensor
    error_max: Tensor
    total: Tensor
    square: Tensor

    def setup(self, shape: EvaluationShape) -> Self:
        """Make the states."""
        del shape
        self.add_state("maps", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        for name in ("error_sum", "total", "square"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("error_max", torch.zeros((), dtype=torch.float64), dist_reduce_fx="max")
        return self

    @property
    def constants(self) -> dict[str, Any]:
        """What the numbers depend on."""
        return {"relative_to": "standard deviation of the contributions"}

    def observe(self, seen: Observation) -> None:
        """Add a batch, if its maps are meant to average to contributions."""
        if seen.additive and seen.contributions is not None:
            self.update(seen.maps, seen.contributions, seen.elsewhere)

    def update(self, maps: Tensor, contributions: Tensor, elsewhere: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            maps: (B, k, H, W).
            contributions: (B, k) of the same prototypes to the same logits.
            elsewhere: (B, k) what of these the maps leave out and say so; None for nothing.
        """
        if not contributions.numel():
            return
        wanted = contributions.double()
        told = maps.double().mean(dim=(2, 3))
        error = ((told if elsewhere is None else told + elsewhere) - wanted).abs()
        self.maps += wanted.numel()
        self.error_sum += error.sum()
        self.error_max = torch.maximum(self.error_max, error.max())
        self.total += wanted.sum()
        self.square += wanted.square().sum()

    def compute(self) -> CompletenessResult:
        """Figures over all maps; a collective call: every process must make it."""
        count = self.maps.clamp(min=1)
        variance = self.square / count - (self.total / count).square()
        spread = variance.clamp(min=torch.finfo(torch.float64).tiny).sqrt()
        return CompletenessResult(
            self.error_sum / count / spread, self.error_max / spread, self.maps.clone()
        )

    def figures(self, result: CompletenessResult) -> dict[str, Any]:
        """Return the mean and the largest error; None where there is none to measure."""
        known = int(result.maps) > 0
        return {
            "completeness_error": float(result.error) if known else None,
            "max_completeness_error": float(result.max_error) if known else None,
        }
