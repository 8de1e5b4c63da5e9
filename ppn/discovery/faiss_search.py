"""FAISS: spherical k-means. The only file that imports faiss; `faiss_index` asks it here."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ppn.errors import DiscoveryError

if TYPE_CHECKING:
    from collections.abc import Iterator


class Clusters(NamedTuple):
    """`centroids` (k, D) of unit L2 norm; `assignment` (n,) int64, the centroid of each token."""

    centroids: Tensor
    assignment: Tensor


@contextmanager
def imported_faiss() -> Iterator[Any]:
    """Import faiss lazily, after torch, and leave its global thread count as it was."""
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(torch.get_num_threads())
    try:
        yield faiss
    finally:
        faiss.omp_set_num_threads(before)


def spherical_kmeans(tokens: Tensor, k: int, seed: int = 0, iterations: int = 20) -> Clusters:
    """Cluster tokens by direction.

    Args:
        tokens: (n, D); rows of zeros belong to no direction and fall to some cluster.
        k: Number of clusters, at most n.
        seed: Seed of the starting centroids.
        iterations: Lloyd iterations.

    Raises:
        DiscoveryError: If there are fewer tokens than clusters.
    """
    if len(tokens) < k:
        raise DiscoveryError(
            f"{k} prototypes were asked for, but there are only {len(tokens)} tokens: "
            "lower k or add images."
        )
    unit = torch.nn.functional.normalize(tokens.float(), dim=1).cpu().numpy()
    unit = np.ascontiguousarray(unit)
    with imported_faiss() as faiss:
        # FAISS subsamples to 256 points per centroid and warns below 39 unless told otherwise.
        kmeans = faiss.Kmeans(
            unit.shape[1],
            k,
            niter=iterations,
            seed=seed,
            spherical=True,
            min_points_per_centroid=1,
            max_points_per_centroid=len(unit),
            gpu=_on_gpu(tokens, faiss),
        )
        kmeans.train(unit)
        _, assignment = kmeans.index.search(unit, 1)
        centroids = np.array(kmeans.centroids).reshape(k, -1)
    device = tokens.device
    return Clusters(
        torch.from_numpy(centroids).to(device), torch.from_numpy(assignment[:, 0]).to(device)
    )


def _on_gpu(tokens: Tensor, faiss: Any) -> bool:  # noqa: ANN401 - a module without types
    """Whether tokens are on a GPU and the installed FAISS can use one."""
    return tokens.is_cuda and hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0
