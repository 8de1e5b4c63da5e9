"""Shares of the residual in proportion to how much of each part is in the row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppn.refinement.residual import ResidualShares

if TYPE_CHECKING:
    from torch import Tensor

    from ppn.refinement.base import ClassProblem

_ILL_CONDITIONED = 1e-3
"""Equal shares are used where |sum(alpha)| is below this share of sum(|alpha|)."""


class Alpha(ResidualShares):
    """B_i = alpha_i / sum(alpha) (the predecessor's Eq. 8)."""

    def shares(self, problem: ClassProblem, alpha: Tensor, residual: Tensor) -> Tensor | None:
        """Return alpha over its sum; None where that sum is near 0."""
        total = alpha.sum()
        if total.abs() <= _ILL_CONDITIONED * alpha.abs().sum():
            return None
        return (alpha / total)[:, None]
