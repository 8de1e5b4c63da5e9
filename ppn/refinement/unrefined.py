"""Parts as discovered: a baseline that does not add up."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ppn.refinement.base import AlphaSolver, Refined, Refinement

if TYPE_CHECKING:
    from ppn.refinement.base import ClassProblem


class Unrefined(Refinement):
    """alpha_i p_i without the residual (steps 2a and 2b alone).

    Args:
        alpha_solver: Whether the coefficients alpha may be negative.
    """

    exact: ClassVar[bool] = False

    def __init__(self, alpha_solver: AlphaSolver = "least_squares") -> None:
        self.alpha_solver: AlphaSolver = alpha_solver
        self._expect_word("alpha_solver", AlphaSolver)

    def refine(self, problem: ClassProblem) -> Refined:
        """Return the parts, scaled."""
        nonnegative = self.alpha_solver == "nonnegative"
        alpha = problem.nonnegative_alpha if nonnegative else problem.alpha
        return Refined((alpha[:, None] * problem.parts.double()).float())
