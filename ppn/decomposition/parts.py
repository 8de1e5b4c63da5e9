"""Discovering the parts of a class (method: step 1), one function per discoverer."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ppn.decomposition.faiss_search import spherical_kmeans
from ppn.decomposition.nmf import Factors, nmf, nndsvda, nonnegative_coefficients
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
    seeding: Seeding = "kmeans",
    token_weighting: TokenWeighting = "none",
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
            the unweighted tokens.
        seed: Seed of k-means or of the randomised SVD.

    Returns:
        For each class its factors (n_c, k) and (k, D).

    Raises:
        DiscoveryError: If tokens are not finite, or a class has fewer than k of them.
    """
    for group, name in zip(tokens, names, strict=True):
        _check(group, k, name)
    positive = [group.clamp(min=0) for group in tokens]
    if discoverer == "kmeans":
        return [_kmeans_factors(group, k, seed) for group in positive]
    seen = positive
    if token_weighting == "cam":
        seen = [
            group * (raw @ weight).clamp(min=0).sqrt()[:, None]
            for group, raw, weight in zip(positive, tokens, weights, strict=True)
        ]
    padded = torch.nn.utils.rnn.pad_sequence(seen, batch_first=True)
    start = torch.stack([_start(group, k, seeding, seed) for group in seen])
    batch = nmf(padded, start)
    factors = []
    for position, group in enumerate(positive):
        coefficients = batch.coefficients[position, : len(group)]
        parts = batch.parts[position]
        if token_weighting == "cam":
            coefficients = nonnegative_coefficients(group, parts)
        factors.append(Factors(coefficients, parts, batch.error[position], batch.iterations))
    return factors


def _check(tokens: Tensor, k: int, name: str) -> None:
    if not bool(torch.isfinite(tokens).all()):
        raise DiscoveryError(
            f"The backbone's features of class {name} contain NaN or infinity: check its weights "
            "and the precision (bf16-mixed instead of 16-mixed, or 32-true)."
        )
    if len(tokens) < k:
        raise DiscoveryError(
            f"Class {name} has {len(tokens)} patch tokens, fewer than the {k} prototypes asked "
            "for: lower num_prototypes or add images."
        )


def _start(tokens: Tensor, k: int, seeding: Seeding, seed: int) -> Tensor:
    if seeding == "nndsvda":
        return nndsvda(tokens, k, seed)
    return spherical_kmeans(tokens, k, seed).centroids.clamp(min=0)


def _kmeans_factors(tokens: Tensor, k: int, seed: int) -> Factors:
    clusters = spherical_kmeans(tokens, k, seed)
    member = torch.nn.functional.one_hot(clusters.assignment, k).to(tokens.dtype)
    coefficients = member * (tokens @ clusters.centroids.T).clamp(min=0)
    error = (tokens - coefficients @ clusters.centroids).square().sum(dtype=torch.float64)
    return Factors(coefficients, clusters.centroids, error, 0)
