"""Non-negative matrix factorisation in torch, batched over classes (method: step 1)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

TOLERANCE = 1e-4
MAX_ITERATIONS = 200
_SWEEPS = 2
"""Coordinate sweeps over E per pass over the tokens; a sweep costs k/D of the pass."""


class Factors(NamedTuple):
    """A factorisation F ~ E P.

    `coefficients` (..., n, k) >= 0; `parts` (..., k, D) with rows of unit L2 norm; `error` (...)
    the squared Frobenius norm ||F - E P||^2; `iterations` how many were run at most.
    """

    coefficients: Tensor
    parts: Tensor
    error: Tensor
    iterations: int


def nmf(
    tokens: Tensor,
    start: Tensor,
    max_iterations: int = MAX_ITERATIONS,
    tolerance: float = TOLERANCE,
) -> Factors:
    """Minimise ||F - E P||_F^2 over E, P >= 0 by hierarchical alternating least squares.

    A class stops when the relative change of its error falls below the tolerance (the
    predecessor's rule, ProtoNMF), whichever classes share its batch.

    Args:
        tokens: (G, n, D) non-negative; classes with fewer tokens are padded with zero rows,
            which take zero coefficients and change nothing.
        start: (G, k, D) non-negative rows to start P from.
        max_iterations: Most alternations.
        tolerance: Relative change of the error below which the iteration stops.

    Returns:
        The factors, rows of P scaled to unit L2 norm and E accordingly.
    """
    total = tokens.square().sum((-2, -1), dtype=torch.float64)
    parts, error = start.clone(), total.clone()
    coefficients = tokens.new_zeros(len(tokens), start.shape[1], tokens.shape[1])
    active = torch.arange(len(tokens), device=tokens.device)
    features, e, p = tokens, coefficients.clone(), start.clone()
    iteration = 0
    for iteration in range(1, max_iterations + 1):
        sweeps = _SWEEPS if iteration > 1 else 10 * _SWEEPS  # E starts from zero
        coordinate_descent(e, p @ features.mT, p @ p.mT, sweeps)
        projected = e @ features
        gram = e @ e.mT
        coordinate_descent(p, projected, gram, 1)
        cross = (projected * p).sum((-2, -1), dtype=torch.float64)
        square = (gram.double() * (p @ p.mT).double()).sum((-2, -1))
        now, before = (total[active] - 2 * cross + square).clamp(min=0), error[active]
        coefficients[active], parts[active], error[active] = e, p, now
        going = before - now > tolerance * before
        if not bool(going.all()):
            active, features, e, p = active[going], features[going], e[going], p[going]
        if len(active) == 0:
            break
    norms = torch.linalg.vector_norm(parts, dim=-1, keepdim=True)
    parts = torch.where(norms > 0, parts / norms.clamp(min=torch.finfo(parts.dtype).tiny), parts)
    return Factors((coefficients * norms).mT, parts, error, iteration)


def nonnegative_coefficients(tokens: Tensor, parts: Tensor, sweeps: int = 20) -> Tensor:
    """Return E >= 0 (..., n, k) that minimises ||F - E P||_F^2 for fixed P.

    Args:
        tokens: (..., n, D).
        parts: (..., k, D).
        sweeps: Coordinate sweeps; k is small, so few suffice.
    """
    coefficients = tokens.new_zeros(*tokens.shape[:-2], parts.shape[-2], tokens.shape[-2])
    coordinate_descent(coefficients, parts @ tokens.mT, parts @ parts.mT, sweeps)
    return coefficients.mT


def coordinate_descent(x: Tensor, linear: Tensor, gram: Tensor, sweeps: int) -> None:
    """Minimise 1/2 x^T G x - <l, x> over x >= 0, one row after the other, in place.

    Args:
        x: (..., k, m) the current point, overwritten.
        linear: (..., k, m).
        gram: (..., k, k) positive semi-definite; a row with zero diagonal keeps its value.
        sweeps: Passes over the k rows.
    """
    diagonal = torch.diagonal(gram, dim1=-2, dim2=-1)
    inverse = torch.where(diagonal > 0, 1 / diagonal.clamp(min=torch.finfo(x.dtype).tiny), 0.0)
    for _ in range(sweeps):
        for row in range(x.shape[-2]):
            gradient = linear[..., row, :] - (gram[..., row : row + 1, :] @ x).squeeze(-2)
            x[..., row, :].add_(gradient * inverse[..., row : row + 1]).clamp_(min=0)


def nndsvda(tokens: Tensor, k: int, seed: int = 0) -> Tensor:
    """Return NNDSVDa starting rows for P (Boutsidis & Gallopoulos, 2008).

    Each singular pair is split into its positive and negative half and the heavier half kept;
    zeros are filled with the mean of the tokens.

    Args:
        tokens: (n, D) non-negative.
        k: Number of parts, at most min(n, D).
        seed: Seed of the randomised singular value decomposition.

    Returns:
        (k, D) non-negative rows.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        left, values, right = torch.svd_lowrank(tokens, q=min(k + 6, *tokens.shape), niter=4)
    left, values, right = left[:, :k].mT, values[:k], right[:, :k].mT
    positive = left.clamp(min=0).norm(dim=1) * right.clamp(min=0).norm(dim=1)
    negative = left.clamp(max=0).norm(dim=1) * right.clamp(max=0).norm(dim=1)
    heavier = torch.where((positive >= negative)[:, None], right, -right).clamp(min=0)
    weight = torch.sqrt(values * torch.maximum(positive, negative))[:, None]
    rows = weight * heavier / heavier.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return torch.where(rows > 0, rows, tokens.mean())
