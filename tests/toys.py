"""One implementation of each seam that the package does not know."""

from __future__ import annotations

import torch

from ppn.discovery import Discoverer, Parts
from ppn.explainers.base import Attribution, Explainer
from ppn.metrics.base import Metric
from ppn.refinement import Refined, Refinement, exact_sum


class SharedChannels(Discoverer):
    """Parts that all classes share: the k channels that are strongest over all of them.

    Args:
        power: What coefficients are raised to.
    """

    shared = True

    def __init__(self, power: float = 1.0):
        self.power = power
        self.channels = None

    def fit(self, classes, weight, k):
        strength = sum(item.tokens.float().clamp(min=0).sum((0, 1)) for item in classes)
        self.channels = strength.topk(k).indices

    def discover(self, group, weight, k):
        parts = torch.eye(weight.shape[1], device=weight.device)[self.channels]
        return [
            Parts(parts, (item.tokens.float().flatten(0, 1) @ parts.T).clamp(min=0) ** self.power)
            for item in group
        ]


class FirstTakesAll(Refinement):
    """The whole row for one prototype, nothing for the others.

    Args:
        part: Which one.
    """

    def __init__(self, part: int = 0):
        self.part = part

    def refine(self, problem):
        prototypes = torch.zeros(len(problem.parts), len(problem.weight), dtype=torch.float64)
        prototypes[self.part] = problem.weight
        return Refined(exact_sum(prototypes.to(problem.weight.device), problem.weight))


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
        maps = torch.zeros(len(target), 1, 4, 4, device=target.device)
        maps.flatten(2)[:, :, self.cell] = 1
        return Attribution(maps)


class LikeTheClass(Explainer):
    """How alike each patch token is to the mean one of the class's training images.

    Args:
        power: What the likeness is raised to.
    """

    needs_training_images = True
    fitted = ("means",)
    maps_per_class = 1

    def __init__(self, power: float = 1.0):
        self.power = power

    def fit(self, images):
        found = {one.label: one.tokens.pooled.mean(0) for one in images.classes()}
        width = next(iter(found.values())).shape
        count = len(images.network.class_names)
        self.means = torch.stack([found.get(c, torch.zeros(width)) for c in range(count)])

    def attribute(self, inputs, target):
        tokens = inputs.tokens
        alike = tokens.tokens @ self.means.to(tokens.tokens)[target][:, :, None]
        return Attribution(alike.mT.reshape(-1, 1, *tokens.grid).clamp(min=0) ** self.power)
