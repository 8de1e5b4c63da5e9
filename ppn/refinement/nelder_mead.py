"""Shares of the residual that change the maps of the parts least, found by Nelder-Mead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.optimize import minimize

from ppn.refinement.residual import ResidualShares, equal_shares

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from ppn.refinement.base import ClassProblem


class NelderMead(ResidualShares):
    """Scalars B_i >= 0 that keep each map x p~_i most correlated with its map x p_i.

    The optimiser is the paper's, the objective our reading of it. Without the sign constraint
    (ours) correlation can grow for ever larger, cancelling shares. Everything the objective needs
    is in a few moments of the maps, so one evaluation costs k operations, whatever the number of
    tokens.
    """

    def shares(self, problem: ClassProblem, alpha: Tensor, residual: Tensor) -> Tensor:
        """Return one share for each part, (k, 1)."""
        k = len(problem.parts)
        if k == 1:
            return equal_shares(problem)
        tokens = problem.tokens.double()
        maps = tokens @ problem.parts.double().T
        maps, rest = maps - maps.mean(0), tokens @ residual
        rest = rest - rest.mean()
        scale = alpha.cpu().numpy()
        variance = maps.square().sum(0).cpu().numpy()
        cross = (maps * rest[:, None]).sum(0).cpu().numpy()
        power = float(rest.square().sum())

        def disagreement(free: NDArray[np.float64]) -> float:
            last = 1 - free.sum()
            if last < 0:  # outside the simplex: worse than any correlation, and sloping back
                return 1.0 - float(last)
            share = np.append(free, last)
            covariance = scale * variance + share * cross
            spread = scale**2 * variance + 2 * scale * share * cross + share**2 * power
            norm = (variance * spread).clip(min=1e-30) ** 0.5
            return -float((covariance / norm).mean())

        found = minimize(
            disagreement,
            equal_shares(problem)[:-1, 0].cpu().numpy(),
            method="Nelder-Mead",
            bounds=[(0, 1)] * (k - 1),
            options={"maxiter": 200 * k},
        )
        shares = np.append(found.x, 1 - found.x.sum())
        return torch.from_numpy(shares).to(residual.device)[:, None]
