"""Sobol indices: how much of an output's variance each input has a part in."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine


class Design(NamedTuple):
    """Points of a Sobol study: `first` and `second` (n, K), and `mixed` (K, n, K).

    `mixed[i]` is `first` with column i of `second`.
    """

    first: Tensor
    second: Tensor
    mixed: Tensor


def design(inputs: int, points: int, seed: int = 0) -> Design:
    """Draw a design from a scrambled Sobol sequence in [0, 1].

    Args:
        inputs: K.
        points: n; a power of two keeps the sequence balanced.
        seed: Seed of the scrambling.
    """
    engine = SobolEngine(2 * inputs, scramble=True, seed=seed)  # type: ignore[no-untyped-call]
    drawn = engine.draw(points)
    first, second = drawn.chunk(2, dim=1)
    own = torch.eye(inputs, dtype=torch.bool)[:, None]
    return Design(first, second, torch.where(own, second, first))


def total_indices(first: Tensor, mixed: Tensor) -> Tensor:
    """Return Jansen's estimate of the total indices (Jansen, 1999; CRAFT, eq. 5).

    S_i = E[(y(A) - y(A with column i of B))^2] / (2 Var y(A)); zeros where y does not vary.

    Args:
        first: (..., n) outputs at `Design.first`.
        mixed: (..., K, n) outputs at `Design.mixed`.

    Returns:
        (..., K) >= 0. They add up to about one where y is a sum of functions of one input each.
    """
    changed = (first[..., None, :] - mixed).square().mean(-1)
    spread = 2 * first.var(-1, keepdim=True)
    return torch.where(spread > 0, changed / spread.clamp(min=torch.finfo(first.dtype).tiny), 0.0)
