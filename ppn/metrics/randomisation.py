"""Do maps change when the classifier's late layers are drawn anew?

Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ppn.metrics.means import MeanMetric
from ppn.metrics.probe import LATE

if TYPE_CHECKING:
    from torch import Tensor

    from ppn.metrics.base import Observation


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Spearman's correlation of maps (..., H, W), cell by cell; NaN where one is constant."""
    ranks = [_ranks(maps.double().flatten(-2).contiguous()) for maps in (first, second)]
    centred = [rank - rank.mean(-1, keepdim=True) for rank in ranks]
    norm = centred[0].norm(dim=-1) * centred[1].norm(dim=-1)
    return (centred[0] * centred[1]).sum(-1) / torch.where(norm > 0, norm, torch.nan)


def _ranks(values: Tensor) -> Tensor:
    """Ranks (..., n) from 0; of equal values the mean of theirs."""
    ordered = values.sort(dim=-1).values
    first, past = (torch.searchsorted(ordered, values, right=right) for right in (False, True))
    return (first + past - 1) / 2


class RandomisationCheck(MeanMetric):
    """Mean rank correlation of maps before and after the late layers are initialised anew.

    The explainer stays as it was found for the trained classifier; the last third of the layers
    but for the head is drawn anew. Maps are of the class that the trained classifier predicts.
    Near 1: the maps do not show what the classifier has learned.

    Args:
        seed: Seed of the weights.
    """

    title = "Randomisation check"
    bounds = (-1.0, 1.0)
    higher_is_better = False
    protocol = "randomisation-2018"
    help = "Rank correlation of maps with those behind late layers that were drawn anew."
    needs = frozenset({"model"})

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed
        self._expect_seed()

    @property
    def constants(self) -> dict[str, Any]:
        """What the numbers depend on."""
        return {"seed": self.seed, "layers": f"last {LATE:.2f}"}

    def observe(self, seen: Observation) -> None:
        """Add a batch."""
        assert seen.probe is not None
        before = seen.probe.attribution.maps
        after = seen.probe.with_late_layers_redrawn(self.seed).maps
        self.update(before, after, seen.probe.predicted, seen.counts)

    def update(
        self,
        maps: Tensor,
        other: Tensor,
        labels: Tensor | None = None,
        counts: Tensor | None = None,
    ) -> None:
        """Add a batch: maps (B, k, H, W) before and after; for the rest see `add`."""
        values = rank_correlation(maps, other)
        self.add(values, labels, counts, ~values.isnan())
