"""What any exact method must beat: directions that sum to the head without being its parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from ppn.explainers.directions import Directions
from ppn.refinement.base import exact_sum

if TYPE_CHECKING:
    from torch import Tensor

    from ppn.explainers.base import Kind
    from ppn.prototypes.network import PrototypeNetwork


def random_exact(weight: Tensor, k: int, seed: int = 0) -> Tensor:
    """Return k random directions for each class that sum to its row of the head.

    Each is Gaussian with the root mean square of the row, and what the sum then lacks is shared
    equally; a class's directions do not depend on the other classes.

    Args:
        weight: (C, D) float64, the effective head.
        k: Directions per class.
        seed: Non-negative seed.

    Returns:
        (C, k, D) float32.
    """
    found = []
    for label, row in enumerate(weight):
        drawn = np.random.default_rng([seed, label]).standard_normal((k, len(row)))
        directions = torch.from_numpy(drawn).to(row) * row.square().mean().sqrt()
        found.append(exact_sum(directions, row))
    return torch.stack(found)


def other_class_exact(
    prototypes: Tensor, weight: Tensor, seed: int = 0, found: Tensor | None = None
) -> Tensor:
    """Return the prototypes of another class, made to sum to this one's row of the head.

    Which other class is drawn at random, in a cycle through all: neighbours in the list of classes
    are often relatives. With one class its own prototypes are returned.

    Args:
        prototypes: (C, k, D) of every class.
        weight: (C, D) float64, the effective head.
        seed: Seed of the cycle.
        found: (C,) 1 where a class has prototypes; the others are left out of the cycle and keep
            their own. None: all have some.

    Returns:
        (C, k, D) float32.
    """
    known = np.arange(len(weight)) if found is None else np.flatnonzero(found.cpu().numpy() == 1)
    cycle = known[np.random.default_rng(seed).permutation(len(known))]
    other = np.arange(len(weight))
    other[cycle] = np.roll(cycle, 1)
    pairs = zip(prototypes[torch.from_numpy(other)].double(), weight, strict=True)
    return torch.stack([exact_sum(theirs, row) for theirs, row in pairs])


class RandomExact(Directions):
    """Random directions made exact (metrics.md): exactness alone explains nothing.

    Args:
        seed: Non-negative seed of the directions.
    """

    kind: ClassVar[Kind] = "control"
    title = "random, made exact"

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def prepare(self, network: PrototypeNetwork) -> None:
        """Draw as many directions as the network has prototypes."""
        super().prepare(network)
        weight, _ = network.classifier.effective_head()
        self.directions = random_exact(weight, network.k, self.seed)


class OtherClassExact(Directions):
    """The prototypes of another class, made exact for this one (metrics.md).

    Args:
        seed: Seed of the choice of the other class.
    """

    kind: ClassVar[Kind] = "control"
    title = "another class's, made exact"

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def prepare(self, network: PrototypeNetwork) -> None:
        """Take the network's prototypes from class to class."""
        super().prepare(network)
        weight, _ = network.classifier.effective_head()
        found = network.dictionary.found
        self.directions = other_class_exact(network.head.prototypes, weight, self.seed, found)
