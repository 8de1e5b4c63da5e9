"""Discovering the parts of a class (method: step 1), one function per discoverer."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from ppn.discovery.factorization import (
    Factors,
    Sketch,
    make_sketch,
    nmf,
    nndsvda,
    nonnegative_coefficients,
)
from ppn.discovery.faiss_search import spherical_kmeans
from ppn.errors import DiscoveryError

Discoverer = Literal["nmf", "kmeans"]
Seeding = Literal["kmeans", "nndsvda"]
TokenWeighting = Literal["none", "cam"]


def discover_parts(
    tokens: list[Tensor],
    weights: Tensor,
    k: int,
    names: list[str],
    discoverer: Discoverer = "nmf",
    seeding: Seeding = "nndsvda",
    token_weighting: TokenWeighting = "cam",
    seed: int = 0,
) -> list[Factors]:
    """Find k parts in the tokens of each of a group of classes.

    Negative tokens are clipped to zero here and nowhere else (the predecessor's rule).

    Args:
        tokens: For each class the patch tokens (n_c, D) of its training images.
        weights: (G, D) row of the classification head of each class.
        k: Number of parts per class.
        names: For each class its name, for error messages.
        discoverer: "nmf", or "kmeans" for FAISS spherical k-means alone (a baseline).
        seeding: What NMF starts from: k-means centroids or NNDSVDa.
        token_weighting: "cam" shows NMF each token times the square root of its positive class
            activation, so that it models what the classifier uses; coefficients always refer to
            the unweighted tokens. A class with fewer than k positive activations is not weighted.
        seed: Seed of k-means or of the randomised SVD.

    Returns:
        For each class its factors (n_c, k) and (k, D).

    Raises:
        DiscoveryError: If tokens are not finite, or a class has fewer than k of them.
    """
    positive = [_positive(group, k, name) for group, name in zip(tokens, names, strict=True)]
    if discoverer == "kmeans":
        return [_kmeans_factors(group, k, seed) for group in positive]
    if token_weighting == "none":
        return _factorise(positive, k, seeding, seed)
    seen = [
        _weighted(group, raw @ weight, k)
        for group, raw, weight in zip(positive, tokens, weights, strict=True)
    ]
    return [
        found._replace(coefficients=nonnegative_coefficients(group, found.parts))
        for group, found in zip(positive, _factorise(seen, k, seeding, seed), strict=True)
    ]


def _factorise(tokens: list[Tensor], k: int, seeding: Seeding, seed: int) -> list[Factors]:
    """Factorise classes: one by one on a CPU, whose caches hold one, else all at once."""
    sketches = [make_sketch(group, min(_rank(k), *group.shape), seed) for group in tokens]
    starts = [
        _start(group, k, seeding, seed, sketch)
        for group, sketch in zip(tokens, sketches, strict=True)
    ]
    if tokens[0].device.type == "cpu":
        return [nmf(*problem) for problem in zip(tokens, starts, sketches, strict=True)]
    return _together(tokens, starts, sketches)


def _together(tokens: list[Tensor], starts: list[Tensor], sketches: list[Sketch]) -> list[Factors]:
    """Factorise classes of unequal sizes in one batch: what is missing is filled up with zeros."""
    pad = partial(torch.nn.utils.rnn.pad_sequence, batch_first=True)
    rank = max(sketch.left.shape[1] for sketch in sketches)
    wide = [functional.pad(left, (0, rank - left.shape[1])) for left, _ in sketches]
    sketch = Sketch(pad(wide), pad([right for _, right in sketches]))
    batch = nmf(pad(tokens), torch.stack(starts), sketch)
    return [
        Factors(coefficients[: len(group)], parts, error, batch.iterations)
        for group, coefficients, parts, error in zip(
            tokens, batch.coefficients, batch.parts, batch.error, strict=True
        )
    ]


def _rank(k: int) -> int:
    """Rank of the sketch: ten more than there are parts, and a multiple of eight."""
    return -(-(k + 10) // 8) * 8


def _positive(tokens: Tensor, k: int, name: str) -> Tensor:
    """Clip at zero, after a look at what there is; one pass, and no copy where none is needed."""
    if len(tokens) < k:
        raise DiscoveryError(
            f"Class {name} has {len(tokens)} patch tokens, fewer than the {k} prototypes asked "
            "for: lower k or add images."
        )
    low, high = torch.aminmax(tokens)  # NaN in, NaN out
    if not bool(torch.isfinite(low) & torch.isfinite(high)):
        raise DiscoveryError(
            f"The backbone's features of class {name} contain NaN or infinity: check its weights "
            "and the precision (bf16-mixed instead of 16-mixed, or 32-true)."
        )
    return tokens if bool(low >= 0) else tokens.clamp(min=0)


def _weighted(tokens: Tensor, activation: Tensor, k: int) -> Tensor:
    """Return the (n, D) tokens whose class activation (n,) is positive, times its square root."""
    seen = activation > 0
    if int(seen.count_nonzero()) < k:  # too few are left to find k parts in
        return tokens
    return tokens[seen] * activation[seen].sqrt()[:, None]


def _start(tokens: Tensor, k: int, seeding: Seeding, seed: int, sketch: Sketch) -> Tensor:
    if seeding == "nndsvda":
        return nndsvda(tokens, k, sketch)
    return spherical_kmeans(tokens, k, seed).centroids.clamp(min=0)


def _kmeans_factors(tokens: Tensor, k: int, seed: int) -> Factors:
    clusters = spherical_kmeans(tokens, k, seed)
    member = functional.one_hot(clusters.assignment, k).to(tokens.dtype)
    coefficients = member * (tokens @ clusters.centroids.T).clamp(min=0)
    error = (tokens - coefficients @ clusters.centroids).square().sum(dtype=torch.float64)
    return Factors(coefficients, clusters.centroids, error, 0)
