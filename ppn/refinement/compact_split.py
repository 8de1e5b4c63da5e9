"""Shares of the class activation map that stay in one place, regressed back onto the features."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppn.refinement.base import Refined, Refinement, exact_sum
from ppn.refinement.cam_split import cam_shares
from ppn.refinement.ridge import solve_ridge
from ppn.refinement.shares import compact_shares

if TYPE_CHECKING:
    from torch import Tensor

    from ppn.refinement.base import ClassProblem

_LOCATED = 1e-3
"""Residual at which the rounds before the last may stop: only the places of peaks are wanted."""


class CompactSplit(Refinement):
    """`CamSplit` with shares that are compact in every training image (ours).

    A part is one place in an image, but the coefficients of a factorisation smear over the object.
    So the split is solved several times, and after each but the last every part keeps, of its
    coefficients, only those near the centre of its own map (method: compact shares). Shares sum
    to one at every token, so prototypes sum to the row as they do in `CamSplit`.

    Args:
        ridge: lambda > 0, as in `CamSplit`.
        spread: Standard deviation of a part around its centre > 0, in units of the image's side.
        rounds: How often the shares are made compact, at least 0; 0 is `CamSplit`.
        power: Exponent > 0 of the map whose mean place is the centre.

    Raises:
        DiscoveryError: If an option is out of range.
    """

    def __init__(
        self, ridge: float = 3.0, spread: float = 0.086, rounds: int = 3, power: float = 4.0
    ) -> None:
        self.ridge = ridge
        self.spread = spread
        self.rounds = rounds
        self.power = power
        self._expect_positive("ridge", "spread", "power")
        self._expect_least(0, "rounds")

    def refine(self, problem: ClassProblem) -> Refined:
        """Return prototypes whose maps are closest to their compact shares."""
        return Refined(exact_sum(self._split(problem), problem.weight))

    def _split(self, problem: ClassProblem) -> Tensor:
        """(k, D) float64, solved in the tokens' precision: `exact_sum` restores the sum."""
        tokens, k = problem.tokens, len(problem.parts)
        activation = tokens @ problem.weight.to(tokens.dtype)
        ridge = self.ridge * tokens.square().mean() * len(tokens)
        if not bool(ridge > 0):  # no feature fires on any image: nothing to split
            return problem.weight.expand(k, -1) / k

        def solve(shares: Tensor, start: Tensor | None, left: int) -> Tensor:
            target = (shares - 1 / k) * activation
            if left:
                return solve_ridge(tokens, target @ tokens, ridge, start, _LOCATED)
            return solve_ridge(tokens, target @ tokens, ridge, start)

        coefficients = problem.coefficients.T.to(tokens.dtype)
        correction = solve(cam_shares(problem.coefficients).T.to(tokens.dtype), None, self.rounds)
        for left in reversed(range(self.rounds)):
            maps = correction @ tokens.T + activation / k
            shares = compact_shares(
                coefficients, maps, problem.grid, self.spread, self.power, problem.remainder
            )
            correction = solve(shares, correction, left)
        return problem.weight / k + correction.double()
