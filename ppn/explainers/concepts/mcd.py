"""Multi-dimensional concepts: subspaces, and the complement that makes them complete."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch

from ppn.discovery.faiss_search import spherical_kmeans
from ppn.explainers.concepts.base import shown
from ppn.explainers.directions import Directions
from ppn.refinement.base import exact_sum

if TYPE_CHECKING:
    from torch import Tensor

    from ppn.explainers.training import TrainingImages
    from ppn.prototypes.network import PrototypeNetwork


def subspaces(tokens: Tensor, k: int, dimensions: int, seed: int = 0) -> list[Tensor]:
    """Return orthonormal bases of the leading subspace of each of k clusters of tokens.

    Args:
        tokens: (n, D).
        k: Clusters, by direction.
        dimensions: Of each subspace; fewer where a cluster has fewer tokens.
        seed: Seed of the clusters.

    Returns:
        k matrices (d_i, D); d_i is 0 for an empty cluster.
    """
    found = spherical_kmeans(tokens, k, seed)
    bases = []
    for label in range(k):
        own = tokens[found.assignment == label]
        _, values, rows = torch.linalg.svd(own.double(), full_matrices=False)
        rank = int((values > 1e-6 * values[:1].sum()).sum())
        bases.append(rows[: min(dimensions, rank)])
    return bases


def subspace_split(row: Tensor, bases: list[Tensor]) -> Tensor:
    """Split a row of the head among subspaces.

    A feature is the sum of one vector in each subspace and one that is orthogonal to all (MCD,
    eq. 3-4), f = sum_i f_i + f_o. What <row, f_i> is of f is linear: <p_i, f>.

    Args:
        row: (D,) float64.
        bases: k orthonormal bases (d_i, D) of subspaces.

    Returns:
        (k + 1, D) float64, the last one of the complement; they sum to the row.
    """
    every = torch.cat(bases)
    coordinates = torch.linalg.pinv(every.T, rtol=1e-6)
    parts, first = [], 0
    for basis in bases:
        own = coordinates[first : first + len(basis)]
        parts.append((basis @ row) @ own)
        first += len(basis)
    split = torch.stack(parts)
    return torch.cat([split, (row - split.sum(0))[None]])


class MCD(Directions):
    """Multi-dimensional concept discovery (Vielhaben et al., TMLR 2023), as HU-MCD builds on it.

    A concept is a subspace; what lies outside of all is one more, so that the logit is exactly
    their sum. Its map is its contribution, token by token. Ours finds subspaces by spherical
    k-means on the class's tokens, where MCD clusters by sparse subspace clustering and HU-MCD
    (Grobruegge et al., CVPR 2025) by segments of the Segment Anything Model.

    Args:
        dimensions: Of each subspace.
        k: Concepts of each class; None: as many as the network has prototypes.
        complement: Whether the complement is shown as a map of its own, the last one. Without it
            contributions lack what it adds.
        seed: Seed of the clusters.

    Raises:
        PPNError: If dimensions is not positive.
    """

    key = "mcd"
    title = "MCD"
    needs_training_images: ClassVar[bool] = True
    fitted: ClassVar[tuple[str, ...]] = ("directions",)

    def __init__(
        self, dimensions: int = 5, k: int | None = None, complement: bool = False, seed: int = 0
    ) -> None:
        self.dimensions = dimensions
        self.k = k
        self.complement = complement
        self.seed = seed
        self._expect_least(1, "dimensions")
        self._expect_seed()
        self.exact = complement

    @property
    def maps_per_class(self) -> int:
        """Concepts shown, and the complement if it is."""
        return self._shown + self.complement

    @property
    def places(self) -> int:
        """Concepts shown; the complement has no place."""
        return self._shown

    def prepare(self, network: PrototypeNetwork) -> None:
        """Note the number of concepts."""
        super().prepare(network)
        self._shown = shown(self.k, network, self.key)

    def fit(self, images: TrainingImages) -> None:
        """Find the subspaces of each class, and split its row of the head."""
        weight, _ = images.network.classifier.effective_head()
        count, width = weight.shape
        self.directions = torch.zeros(count, self.maps_per_class, width)
        if self.complement:  # all there is for a class without training images
            self.directions[:, -1] = weight.float()
        for seen in images.classes():
            tokens = seen.tokens.tokens.float().flatten(0, 1)
            bases = subspaces(tokens, self._shown, self.dimensions, self.seed)
            row = weight[seen.label]
            split = subspace_split(row, [basis.to(row) for basis in bases])
            exact = exact_sum(split, row)
            self.directions[seen.label] = exact[: self.maps_per_class].cpu()
