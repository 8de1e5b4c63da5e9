"""Do an image's prototypes have their maxima in different cells?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ppn.metrics.maps import cell_peak
from ppn.metrics.means import MeanMetric

if TYPE_CHECKING:
    from torch import Tensor

    from ppn.metrics.base import Observation


def coinciding_share(maps: Tensor) -> Tensor:
    """Share of prototype pairs whose maxima lie in the same cell: (B, k, H, W) -> (B,) float64."""
    cells = cell_peak(maps)
    first, second = torch.triu_indices(cells.shape[1], cells.shape[1], 1, device=cells.device)
    return (cells[:, first] == cells[:, second]).double().mean(1)


class DistinctPeaks(MeanMetric):
    """1 - the share of prototype pairs whose maxima lie in the same cell of the grid (ours).

    The measure by which refinements are compared; needs no image size.
    """

    placed = True
    title = "Distinct peaks"
    bounds = (0.0, 1.0)
    per_prototype = False
    protocol = "distinct_peaks"
    help = "1 minus the share of prototype pairs whose maxima lie in the same cell."

    @property
    def constants(self) -> dict[str, Any]:
        """Nothing: the definition has no free number."""
        return {}

    def observe(self, seen: Observation) -> None:
        """Add a batch."""
        self.update(seen.maps, seen.batch["label"], seen.counts)

    def update(
        self, maps: Tensor, labels: Tensor | None = None, counts: Tensor | None = None
    ) -> None:
        """Add a batch of maps (B, k, H, W) of one class's prototypes; for the rest see `add`."""
        if maps.shape[1] >= 2:
            self.add(1 - coinciding_share(maps), labels, counts)
