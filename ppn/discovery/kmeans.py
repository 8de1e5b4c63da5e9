"""Parts as clusters of patch tokens: a baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional

from ppn.discovery.base import Discoverer, Parts
from ppn.discovery.faiss_search import spherical_kmeans
from ppn.discovery.positive import positive_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from ppn.discovery.base import ClassTokens


class KMeans(Discoverer):
    """FAISS spherical k-means alone: each token belongs to one part.

    Args:
        seed: Seed of the starting centroids.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self._expect_seed()

    def discover(self, group: Sequence[ClassTokens], weight: Tensor, k: int) -> list[Parts]:
        """Cluster the tokens of each class by direction."""
        return [self._cluster(positive_tokens(item, k), k) for item in group]

    def _cluster(self, tokens: Tensor, k: int) -> Parts:
        centroids, assignment = spherical_kmeans(tokens, k, self.seed)
        member = functional.one_hot(assignment, k).to(tokens.dtype)
        return Parts(centroids, member * (tokens @ centroids.T).clamp(min=0))
