"""The paper's way to an exact sum: parts as they are, and a share of the residual for each."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from ppn.refinement.base import AlphaSolver, Refined, Refinement, exact_sum

if TYPE_CHECKING:
    from torch import Tensor

    from ppn.refinement.base import ClassProblem

_EXACT = 1e-6
"""Largest error of the sum, over the row's largest entry."""


class ResidualShares(Refinement):
    """p~_i = alpha_i p_i + B_i * r with sum_i B_i = 1, which is exact for any B (steps 2a to 2c).

    Args:
        alpha_solver: Whether the coefficients alpha may be negative.
    """

    def __init__(self, alpha_solver: AlphaSolver = "least_squares") -> None:
        self.alpha_solver: AlphaSolver = alpha_solver
        self._expect_word("alpha_solver", AlphaSolver)

    def alpha(self, problem: ClassProblem) -> Tensor:
        """Return (k,) float64, the coefficients of the parts in the row."""
        nonnegative = self.alpha_solver == "nonnegative"
        return problem.nonnegative_alpha if nonnegative else problem.alpha

    def refine(self, problem: ClassProblem) -> Refined:
        """Return parts, scaled, each with its share of the residual."""
        alpha = self.alpha(problem)
        parts = problem.parts.double()
        residual = problem.weight - alpha @ parts
        share = self.shares(problem, alpha, residual)
        fell_back = share is None
        if share is None:
            share = equal_shares(problem)
        prototypes = exact_sum(alpha[:, None] * parts + share * residual, problem.weight)
        if not fell_back and _lost(prototypes, problem.weight):
            share, fell_back = equal_shares(problem), True
            prototypes = exact_sum(alpha[:, None] * parts + share * residual, problem.weight)
        return Refined(prototypes, fell_back)

    @abstractmethod
    def shares(self, problem: ClassProblem, alpha: Tensor, residual: Tensor) -> Tensor | None:
        """Return B, (k, 1) or (k, D) with columns that sum to 1; None where it is ill-conditioned.

        Args:
            problem: The class.
            alpha: (k,) float64, the coefficients of its parts.
            residual: (D,) float64, what they leave of the row.
        """


def _lost(prototypes: Tensor, weight: Tensor) -> bool:
    """Whether entries are so large that float32 no longer holds their sum (step 2d)."""
    missing = (prototypes.double().sum(0) - weight).abs().max()
    return bool(missing > _EXACT * weight.abs().max())


def equal_shares(problem: ClassProblem) -> Tensor:
    """Return (k, 1) float64: 1/k each."""
    k = len(problem.parts)
    return problem.weight.new_full((k, 1), 1 / k)
