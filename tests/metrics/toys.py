"""A metric and an explainer that the package does not know."""

from __future__ import annotations

import torch

from ppn.explainers.base import Attribution, Explainer
from ppn.metrics.base import Metric


class CornerMass(Metric):
    """Share of maps whose maximum is in the first cell.

    Args:
        weight: What a map in the corner counts.
    """

    title = "Corner mass"
    bounds = (0.0, 1.0)
    higher_is_better = False
    protocol = "toy"
    help = "Share of maps whose maximum is in the first cell."

    def __init__(self, weight: float = 1.0):
        super().__init__()
        self.weight = weight

    def setup(self, shape):
        self.k = shape.k
        self.add_state("corner", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("maps", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        return self

    def observe(self, seen):
        self.update(seen.maps)

    def update(self, maps):
        assert maps.shape[1] == self.k
        self.corner += (maps.flatten(2).argmax(2) == 0).sum()
        self.maps += maps.shape[0] * maps.shape[1]

    def compute(self):
        return self.weight * self.corner.double() / self.maps.clamp(min=1)

    def figures(self, result):
        return {"corner_mass": float(result)}


class OneCell(Explainer):
    """One map per class, which is 1 in one cell of a 4 x 4 grid.

    Args:
        cell: Which.
    """

    kind = "control"
    title = "one cell"

    def __init__(self, cell: int = 5):
        self.cell = cell

    @property
    def maps_per_class(self):
        return 1

    def prepare(self, network):
        self.prepared = network

    def attribute(self, inputs, target):
        maps = torch.zeros(len(target), 1, 4, 4)
        maps.flatten(2)[:, :, self.cell] = 1
        return Attribution(maps)
