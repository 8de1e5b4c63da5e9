"""Non-negative matrix factorisation in torch (method: step 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

TOLERANCE = 1e-4
MAX_ITERATIONS = 200
_SWEEPS = 2
"""Coordinate sweeps over E per pass over the tokens; a sweep costs k/D of the pass."""
_RESOLUTION = 1e-6
"""Share of ||F||^2 below which float32 cannot tell errors apart."""
_CARE = 0.1
"""Tolerance on the sketch over that on the tokens: its iterations cost little."""


class Factors(NamedTuple):
    """A factorisation F ~ E P.

    `coefficients` (..., n, k) >= 0; `parts` (..., k, D) with rows of unit L2 norm; `error` (...)
    the squared Frobenius norm ||F - E P||^2; `iterations` how many were run at most on the tokens
    themselves.
    """

    coefficients: Tensor
    parts: Tensor
    error: Tensor
    iterations: int


class Sketch(NamedTuple):
    """Tokens projected onto the subspace that holds most of them: F ~ left right.

    `left` (..., n, q) with orthonormal columns; `right` (..., q, D).
    """

    left: Tensor
    right: Tensor


def nmf(
    tokens: Tensor,
    start: Tensor,
    sketch: Sketch | None = None,
    max_iterations: int = MAX_ITERATIONS,
    tolerance: float = TOLERANCE,
) -> Factors:
    """Minimise ||F - E P||_F^2 over E, P >= 0 by hierarchical alternating least squares.

    A class stops when the relative change of its error falls below the tolerance (the
    predecessor's rule, ProtoNMF), whichever classes share its batch.

    Args:
        tokens: (..., n, D) non-negative; classes with fewer tokens are padded with zero rows,
            which take zero coefficients and change nothing.
        start: (..., k, D) non-negative rows to start P from.
        sketch: Lets most iterations read the sketch, whose cost is a few per cent, instead of
            the tokens (Zhou, Cichocki & Xie, 2012); the last ones always read the tokens.
        max_iterations: Most alternations, of each kind.
        tolerance: Relative change of the error below which the iteration stops.

    Returns:
        The factors, rows of P scaled to unit L2 norm and E accordingly.
    """
    # Row by row: no copy of the tokens, and no long sum in float32.
    total = torch.linalg.vector_norm(tokens, dim=-1).double().square().sum(-1)
    transposed = tokens.mT
    parts, coefficients = start, None
    if sketch is not None:
        left, right = sketch
        left_t, right_t = left.mT.contiguous(), right.mT
        found = _alternate(
            coefficients,
            parts,
            lambda p: (p @ right_t) @ left_t,
            lambda e: (e @ left) @ right,
            total,
            max_iterations,
            tolerance * _CARE,
        )
        coefficients, parts = found.coefficients, found.parts
    found = _alternate(
        coefficients,
        parts,
        lambda p: p @ transposed,
        lambda e: e @ tokens,
        total,
        max_iterations,
        tolerance,
    )
    parts = found.parts
    norms = torch.linalg.vector_norm(parts, dim=-1, keepdim=True)
    parts = torch.where(norms > 0, parts / norms.clamp(min=torch.finfo(parts.dtype).tiny), parts)
    return Factors((found.coefficients * norms).mT, parts, found.error, found.iterations)


def _alternate(
    coefficients: Tensor | None,
    parts: Tensor,
    onto_tokens: Callable[[Tensor], Tensor],
    onto_channels: Callable[[Tensor], Tensor],
    total: Tensor,
    max_iterations: int,
    tolerance: float,
) -> Factors:
    """Alternate until every class has stopped; E is (..., k, n) here, not yet scaled.

    `onto_tokens` gives P F^T, `onto_channels` E F, `total` is ||F||^2. Products have few rows on
    their left: the transposed ones take up to six times as long on a CPU.
    """
    p = parts.clone()
    e = _first_coefficients(p, onto_tokens(p)) if coefficients is None else coefficients.clone()
    kept_e, kept_p = e, p
    error = total.clone()
    going = torch.ones_like(total, dtype=torch.bool)
    iteration = 0
    for _ in range(max_iterations):
        iteration += 1
        coordinate_descent(e, onto_tokens(p), p @ p.mT, _SWEEPS)
        projected = onto_channels(e)
        gram = e @ e.mT
        coordinate_descent(p, projected, gram, 1)
        cross = (projected * p).sum((-2, -1), dtype=torch.float64)
        square = (gram.double() * (p @ p.mT).double()).sum((-2, -1))
        now = (total - 2 * cross + square).clamp(min=0)
        if going.ndim:  # classes of a batch that have stopped keep what they had
            held = going[..., None, None]
            kept_e, kept_p = torch.where(held, e, kept_e), torch.where(held, p, kept_p)
            now = torch.where(going, now, error)
        going = going & (error - now > tolerance * error + _RESOLUTION * total)
        error = now
        if not bool(going.any()):
            break
    if not going.ndim:
        kept_e, kept_p = e, p
    return Factors(kept_e, kept_p, error, iteration)


def _first_coefficients(parts: Tensor, linear: Tensor) -> Tensor:
    """Non-negative part of the least-squares coefficients, then coordinate descent."""
    gram = parts @ parts.mT
    ridge = 1e-6 * torch.diagonal(gram, dim1=-2, dim2=-1).mean(-1)
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    regular = gram + (ridge[..., None, None] + torch.finfo(gram.dtype).tiny) * eye
    e: Tensor = torch.linalg.solve(regular, linear).clamp(min=0)
    coordinate_descent(e, linear, gram, _SWEEPS)
    return e


@torch.no_grad()
def nonnegative_coefficients(tokens: Tensor, parts: Tensor, sweeps: int = 20) -> Tensor:
    """Return E >= 0 (..., n, k) that minimises ||F - E P||_F^2 for fixed P, without a gradient.

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
    # x_i + (l_i - <g_i, x>) / g_ii, with the division and x_i moved into the matrices.
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    goal, pull = linear * inverse[..., None], gram * inverse[..., None] - eye
    rows = [slice(i, i + 1) for i in range(x.shape[-2])]
    steps = [(goal[..., i, :], pull[..., i, :], x[..., i, :]) for i in rows]
    for _ in range(sweeps):
        for target, weights, row in steps:
            torch.clamp(target - weights @ x, min=0, out=row)


def make_sketch(tokens: Tensor, rank: int, seed: int = 0, rounds: int = 2) -> Sketch:
    """Project tokens onto the leading part of their range (Halko, Martinsson & Tropp, 2011).

    Args:
        tokens: (..., n, D).
        rank: q, at most min(n, D).
        seed: Seed of the random directions.
        rounds: Power iterations, of two passes over the tokens each.
    """
    generator = torch.Generator().manual_seed(seed)
    width = tokens.shape[-1]
    directions = torch.randn(rank, width, generator=generator, dtype=torch.float32).to(tokens)
    left = torch.linalg.qr((directions @ tokens.mT).mT).Q
    for _ in range(rounds):
        right = torch.linalg.qr((left.mT @ tokens).mT).Q
        left = torch.linalg.qr((right.mT @ tokens.mT).mT).Q
    return Sketch(left, left.mT @ tokens)


def nndsvda(tokens: Tensor, k: int, sketch: Sketch) -> Tensor:
    """Return NNDSVDa starting rows for P (Boutsidis & Gallopoulos, 2008).

    Each singular pair is split into its positive and negative half and the heavier half kept;
    zeros are filled with the mean of the tokens.

    Args:
        tokens: (n, D) non-negative.
        k: Number of parts, at most min(n, D).
        sketch: Of at least rank k; gives the leading singular pairs.

    Returns:
        (k, D) non-negative rows.
    """
    squares, rotation = torch.linalg.eigh((sketch.right @ sketch.right.mT).double())
    values = squares.flip(0)[:k].clamp(min=0).sqrt().to(tokens.dtype)
    rotation = rotation.flip(1)[:, :k].to(tokens.dtype)
    left = (sketch.left @ rotation).mT
    right = rotation.mT @ sketch.right
    right = right / right.norm(dim=1, keepdim=True).clamp(min=1e-12)
    positive = left.clamp(min=0).norm(dim=1) * right.clamp(min=0).norm(dim=1)
    negative = left.clamp(max=0).norm(dim=1) * right.clamp(max=0).norm(dim=1)
    heavier = torch.where((positive >= negative)[:, None], right, -right).clamp(min=0)
    weight = torch.sqrt(values * torch.maximum(positive, negative))[:, None]
    rows = weight * heavier / heavier.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return torch.where(rows > 0, rows, tokens.mean())
