"""Path integrals of gradients (Aumann-Shapley): attributions that add up for any function.

Along the straight line from a baseline x0 to an input x, the attribution of entry j to c is
(x_j - x0_j) times the mean over the line of dc/dx_j. By the fundamental theorem of calculus their
sum is c(x) - c(x0) (Sundararajan et al., Axiomatic attribution for deep networks, ICML 2017, Prop.
1), which is known from two evaluations: so the error of a quadrature is measured, not estimated.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Integral(NamedTuple):
    """Attributions of k functions on B inputs.

    `parts`: for each tensor of the input (B, k, ...), what its entries contribute; `error` (B, k)
    float64: |sum of attributions - difference to explain|; `nodes` (B,) int64, points on the line
    whose gradients the attributions are the mean of.
    """

    parts: list[Tensor]
    error: Tensor
    nodes: Tensor


def path_integral(
    function: Callable[[list[Tensor], Tensor], Tensor],
    start: Sequence[Tensor],
    end: Sequence[Tensor],
    directions: Tensor,
    difference: Tensor,
    tolerance: Tensor,
    nodes: int = 4,
    most: int = 512,
    at_once: int = 16,
) -> Integral:
    """Attribute k functions <y(x), direction> along a line, until their attributions add up.

    Gauss-Legendre quadrature; where it misses the known difference by more than the tolerance, it
    is done again with twice the nodes, for those images alone.

    Args:
        function: y (M, D) of tensors (M, ...), and of which input each row is a variant, (M,).
        start: Baseline tensors (B, ...).
        end: Input tensors (B, ...).
        directions: (B, k, D).
        difference: (B, k) what is to be explained: c(end) - c(start).
        tolerance: (B,) largest error allowed.
        nodes: Nodes to begin with.
        most: Nodes to end with at the latest.
        at_once: Most points on lines that are evaluated in one batch: what bounds the memory.

    Returns:
        The attributions with the smallest error that was reached.
    """
    count, k = difference.shape
    deltas = [b - a for a, b in zip(start, end, strict=True)]
    parts = [delta.new_zeros(count, k, *delta.shape[1:]) for delta in deltas]
    error = difference.new_full((count, k), torch.inf, dtype=torch.float64)
    used = torch.zeros(count, dtype=torch.long, device=difference.device)
    left = torch.arange(count, device=difference.device)
    while len(left):
        slopes = _mean_gradients(function, start, deltas, directions, left, nodes, at_once)
        found = [slope * delta[left, None] for slope, delta in zip(slopes, deltas, strict=True)]
        total = torch.stack([part.double().flatten(2).sum(2) for part in found]).sum(0)
        missed = (total - difference[left].double()).abs()
        better = missed.amax(1) < error[left].amax(1)
        rows = left[better]
        for kept, part in zip(parts, found, strict=True):
            kept[rows] = part[better]
        error[rows], used[rows] = missed[better], nodes
        left = left[error[left].amax(1) > tolerance[left]]
        nodes *= 2
        if nodes > most:
            break
    return Integral(parts, error, used)


def _mean_gradients(
    function: Callable[[list[Tensor], Tensor], Tensor],
    start: Sequence[Tensor],
    deltas: Sequence[Tensor],
    directions: Tensor,
    images: Tensor,
    nodes: int,
    at_once: int,
) -> list[Tensor]:
    """Return the mean over each image's line of the gradients of its k functions (b, k, ...)."""
    places, weights = (torch.from_numpy(values).to(directions) for values in _gauss(nodes))
    k = directions.shape[1]
    sums = [delta.new_zeros(len(images), k, *delta.shape[1:]) for delta in deltas]
    order = torch.arange(len(images) * nodes, device=images.device)
    for chunk in torch.split(order, at_once):
        which, node = chunk // nodes, chunk % nodes
        rows = images[which]
        points = [
            (a[rows] + _column(places[node], a) * delta[rows]).requires_grad_()
            for a, delta in zip(start, deltas, strict=True)
        ]
        y = function(points, rows)
        wanted = (directions[rows] * weights[node, None, None]).to(y.dtype)
        for i in range(k):
            gradients = torch.autograd.grad(
                y, points, wanted[:, i], retain_graph=i < k - 1, materialize_grads=True
            )
            for total, gradient in zip(sums, gradients, strict=True):
                total[:, i].index_add_(0, which, gradient.to(total.dtype))
    return sums


def _column(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like.dtype).reshape(-1, *[1] * (like.dim() - 1))


@cache
def _gauss(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of Gauss-Legendre quadrature on [0, 1]."""
    places, weights = np.polynomial.legendre.leggauss(nodes)
    return (places + 1) / 2, weights / 2
