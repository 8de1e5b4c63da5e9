"""The same share of the residual for every part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppn.refinement.residual import ResidualShares, equal_shares

if TYPE_CHECKING:
    from torch import Tensor

    from ppn.refinement.base import ClassProblem


class Equal(ResidualShares):
    """B_i = 1/k."""

    def shares(self, problem: ClassProblem, alpha: Tensor, residual: Tensor) -> Tensor:
        """Return 1/k for each part."""
        return equal_shares(problem)
