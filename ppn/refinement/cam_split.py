"""Each part's share of the class activation map, regressed back onto the features."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ppn.refinement.base import Refined, Refinement, exact_sum
from ppn.refinement.ridge import solve_ridge

if TYPE_CHECKING:
    from torch import Tensor

    from ppn.refinement.base import ClassProblem


class CamSplit(Refinement):
    """No residual at all: split the class activation map, and regress the shares (ours).

    With shares s_i(n) = e_i(n) / sum_j e_j(n) and targets T_i = s_i * (F v), prototype i is
    q_i = v/k + (F^T F + lambda M)^-1 F^T (T_i - F v / k), M = mean squared channel of F. The
    targets sum to F v, so the corrections sum to zero for every lambda (method: `cam_split`).

    Args:
        ridge: lambda > 0: a larger one makes maps more consistent and their peaks less distinct.

    Raises:
        DiscoveryError: If ridge is not positive.
    """

    def __init__(self, ridge: float = 3.0) -> None:
        self.ridge = ridge
        self._expect_positive("ridge")

    def refine(self, problem: ClassProblem) -> Refined:
        """Return prototypes whose maps are closest to their shares of the class activation map."""
        return Refined(exact_sum(self._split(problem), problem.weight))

    def _split(self, problem: ClassProblem) -> Tensor:
        """(k, D) float64, solved in the tokens' precision: `exact_sum` restores the sum."""
        tokens = problem.tokens
        width = tokens.shape[1]
        k = len(problem.parts)
        activation = tokens @ problem.weight.to(tokens.dtype)
        target = (cam_shares(problem.coefficients) - 1 / k) * activation[:, None]
        ridge = self.ridge * tokens.square().mean() * len(tokens)
        if not bool(ridge > 0):  # no feature fires on any image: nothing to split
            return problem.weight.expand(k, width) / k
        correction = solve_ridge(tokens, target.T @ tokens, ridge)
        return problem.weight / k + correction.double()


def cam_shares(coefficients: Tensor) -> Tensor:
    """Share of each part at each token, (n, k): e_i / sum_j e_j, and 1/k where the sum is 0."""
    total = coefficients.sum(dim=-1, keepdim=True)
    equal = torch.full_like(coefficients, 1 / coefficients.shape[-1])
    return torch.where(total > 0, coefficients / total.clamp(min=1e-30), equal)
