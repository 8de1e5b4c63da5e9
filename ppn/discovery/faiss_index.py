"""FAISS: an inverted file of vectors on disk, searched by inner product."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from ppn.discovery.faiss_search import imported_faiss, spherical_kmeans
from ppn.errors import DataError
from ppn.io.files import replacing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

Kind = Literal["flat", "ivf_sq8", "ivf_pq"]
_FLAT = 400_000
"""Vectors up to which an exact search takes well below a second."""
_EIGHT_BITS = 20_000_000
"""Vectors up to which a byte for each channel is small enough."""
_POINTS_PER_LIST = 39
"""Least training points of a centroid, as FAISS asks for them; as many are taken."""
_TRAINING = 10_000
"""Least vectors from which codes are learned, where there are as many."""
_CHANNELS_PER_BYTE = 4


def kind_for(count: int) -> Kind:
    """Choose how so many vectors are searched: exactly, by eight bits a channel, or by codes."""
    if count <= _FLAT:
        return "flat"
    return "ivf_sq8" if count <= _EIGHT_BITS else "ivf_pq"


def lists_for(count: int) -> int:
    """Return how many inverted lists so many vectors get: a power of two near sqrt(n)."""
    return 1 << round(math.log2(max(1, count)) / 2)


def write_inverted(
    path: Path,
    kind: Kind,
    count: int,
    sample: Callable[[int], NDArray[np.float32]],
    blocks: Iterator[NDArray[np.float32]],
    seed: int = 0,
) -> None:
    """Build an inverted file and write it.

    Vectors keep their length, for scores are inner products, but lists are cones: the centroids
    have unit length, so that a vector's list depends on its direction alone.

    Args:
        path: The file; it appears whole or not at all.
        kind: "ivf_sq8" or "ivf_pq".
        count: Number of vectors.
        sample: Returns at most so many of them, (m, D), spread evenly.
        blocks: All of them in order, (n_i, D) each.
        seed: Seed of k-means.
    """
    lists = lists_for(count)
    seen = sample(max(_TRAINING, _POINTS_PER_LIST * lists))
    centroids = spherical_kmeans(torch.from_numpy(seen), lists, seed, iterations=10).centroids
    with imported_faiss() as faiss:
        width = seen.shape[1]
        coarse = faiss.IndexFlatIP(width)
        coarse.add(centroids.numpy())
        if kind == "ivf_sq8":
            index = faiss.IndexIVFScalarQuantizer(
                coarse,
                width,
                lists,
                faiss.ScalarQuantizer.QT_8bit,
                faiss.METRIC_INNER_PRODUCT,
                False,
            )
        else:
            divisors = range(max(1, width // _CHANNELS_PER_BYTE), 0, -1)
            codes = next(number for number in divisors if width % number == 0)
            bits = 8 if len(seen) >= _TRAINING else 4
            metric = faiss.METRIC_INNER_PRODUCT
            index = faiss.IndexIVFPQ(coarse, width, lists, codes, bits, metric)
            index.pq.cp.min_points_per_centroid = 1  # it would only warn
            index.by_residual = False  # so that a code alone is a vector
        index.train(seen)
        for block in blocks:
            index.add(np.ascontiguousarray(block, dtype=np.float32))
        with replacing(path) as temporary:
            faiss.write_index(index, str(temporary))


class Inverted:
    """An inverted file, memory-mapped.

    Args:
        path: What `write_inverted` wrote.

    Raises:
        DataError: If it is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        with imported_faiss() as faiss:
            try:
                self._index: Any = faiss.read_index(
                    str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY
                )
            except RuntimeError as error:
                reason = str(error).splitlines()[0][:200]
                raise DataError(
                    f"{path} cannot be read ({reason}): build the index again."
                ) from None
        self.count: int = self._index.ntotal
        self.width: int = self._index.d

    def candidates(
        self, queries: NDArray[np.float32], count: int, probes: int, cosine: bool = False
    ) -> NDArray[np.int64]:
        """Return (q, count) numbers of vectors with large scores; -1 where there are fewer.

        Args:
            queries: (q, D).
            count: How many for each.
            probes: Inverted lists that are looked through.
            cosine: Whether scores are cosines, which takes longer, or inner products.
        """
        queries = np.ascontiguousarray(queries, np.float32)
        probes = min(probes, self._index.nlist)
        with imported_faiss() as faiss:
            if cosine:
                _, lists = self._index.quantizer.search(queries, probes)
                return np.stack(
                    [
                        self._by_cosine(faiss, q, own, count)
                        for q, own in zip(queries, lists, strict=True)
                    ]
                )
            self._index.nprobe = probes
            found: NDArray[np.int64] = self._index.search(queries, count)[1]
            return found

    def _by_cosine(
        self,
        faiss: Any,  # noqa: ANN401 - a module without types
        query: NDArray[np.float32],
        lists: NDArray[np.int64],
        count: int,
    ) -> NDArray[np.int64]:
        """Decode lists: the lengths of their vectors are not known to FAISS's own search."""
        index = self._index
        coder = index.sq if hasattr(index, "sq") else index.pq
        kept, scores = [np.full(count, -1)], [np.full(count, -np.inf, np.float32)]
        for number in lists[lists >= 0].tolist():
            size = index.invlists.list_size(number)
            if not size:
                continue
            codes = faiss.rev_swig_ptr(index.invlists.get_codes(number), size * index.code_size)
            vectors = coder.decode(codes.reshape(size, index.code_size).copy())
            length = np.linalg.norm(vectors, axis=1).clip(1e-12)
            scores.append(vectors @ query / length)
            kept.append(faiss.rev_swig_ptr(index.invlists.get_ids(number), size).copy())
        every, score = np.concatenate(kept), np.concatenate(scores)
        best: NDArray[np.int64] = every[np.argsort(-score, kind="stable")[:count]]
        return best
