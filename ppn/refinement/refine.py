"""Refinement of the head: prototypes that sum exactly to a row of it (method: step 2)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize, nnls
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

Strategy = Literal["cam_split", "equal", "alpha", "channel_share", "nelder_mead", "unrefined"]
AlphaSolver = Literal["least_squares", "nonnegative"]

STRENGTH = 3.0
"""Default lambda of `cam_split`: a larger one makes maps more consistent and less distinct."""
_ILL_CONDITIONED = 1e-3
"""`alpha` falls back to `equal` where |sum(alpha)| is below this share of sum(|alpha|)."""

_SOLVED = 1e-5
_CG_STEPS = 100


@dataclass(frozen=True)
class ClassProblem:
    """All that a refinement strategy may look at: one class.

    Attributes:
        tokens: (n, D) raw patch tokens of the class's training images.
        coefficients: (n, k) non-negative coefficients of the parts at each token.
        parts: (k, D) discovered prototypes p_i.
        weight: (D,) float64, row v of the classification head.
        alpha_solver: Whether alpha may be negative: a negative one turns a map upside down.
        strength: lambda of `cam_split`, relative to the mean squared channel of the tokens.
    """

    tokens: Tensor
    coefficients: Tensor
    parts: Tensor
    weight: Tensor
    alpha_solver: AlphaSolver = "least_squares"
    strength: float = STRENGTH

    @cached_property
    def alpha(self) -> Tensor:
        """(k,) float64, argmin ||v - sum_i alpha_i p_i||^2 (step 2a)."""
        parts = self.parts.double()
        if self.alpha_solver == "nonnegative":
            solution, _ = nnls(parts.T.cpu().numpy(), self.weight.cpu().numpy())
            return torch.from_numpy(solution).to(parts.device)
        # The pseudo-inverse copes with parallel parts.
        inverse: Tensor = torch.linalg.pinv(parts @ parts.T, hermitian=True)
        return inverse @ (parts @ self.weight)

    @cached_property
    def residual(self) -> Tensor:
        """(D,) float64, r = v - sum_i alpha_i p_i (step 2b)."""
        return self.weight - self.alpha @ self.parts.double()


class Refined(NamedTuple):
    """`prototypes` (k, D) float32; `fell_back` whether the strategy had to use `equal`."""

    prototypes: Tensor
    fell_back: bool = False


def refine(problem: ClassProblem, strategy: Strategy) -> Refined:
    """Distribute a row of the head over the parts of its class.

    Args:
        problem: The class.
        strategy: "cam_split" (default everywhere), "equal", "alpha", "channel_share",
            "nelder_mead"; or "unrefined": alpha_i p_i without the residual, which is not exact
            and serves as a baseline.

    Returns:
        Prototypes whose sum is v to within 1e-6 * max|v| ("unrefined" excepted).
    """
    if strategy == "unrefined":
        return Refined((problem.alpha[:, None] * problem.parts.double()).float())
    fell_back = False
    if strategy == "cam_split":
        prototypes = cam_split(problem)
    else:
        share = _RESIDUAL_SHARES[strategy](problem)
        if share is None:
            share, fell_back = _equal(problem), True
        base = problem.alpha[:, None] * problem.parts.double()
        prototypes = base + share * problem.residual
    return Refined(exact_sum(prototypes, problem.weight), fell_back)


def exact_sum(prototypes: Tensor, weight: Tensor) -> Tensor:
    """Round prototypes to float32 so that they still sum to v (step 2d).

    What is missing is shared equally, which moves every prototype least; the remainder of the
    rounding goes, channel by channel, to the prototype with the smallest entry, where a float32
    is finest.

    Args:
        prototypes: (k, D) float64, summing to v up to the error of a solver.
        weight: (D,) float64, v.

    Returns:
        (k, D) float32.
    """
    prototypes = prototypes + (weight - prototypes.sum(0)) / len(prototypes)
    rounded = prototypes.float()
    finest = rounded.abs().argmin(dim=0, keepdim=True)
    others = rounded.double().scatter(0, finest, 0.0).sum(0, keepdim=True)
    return rounded.scatter(0, finest, (weight - others).float())


def cam_split(problem: ClassProblem) -> Tensor:
    """Regress each part's share of the class activation map back onto the features.

    With shares s_i(n) = e_i(n) / sum_j e_j(n) and targets T_i = s_i * (F v), prototype i is
    q_i = v/k + (F^T F + lambda M)^-1 F^T (T_i - F v / k), M = mean squared channel of F. The
    targets sum to F v, so the corrections sum to zero for every lambda (method: `cam_split`).

    Returns:
        (k, D) float64, solved in the tokens' precision: `exact_sum` restores the sum.
    """
    tokens = problem.tokens
    width = tokens.shape[1]
    k = len(problem.parts)
    activation = tokens @ problem.weight.to(tokens.dtype)
    target = (cam_shares(problem.coefficients) - 1 / k) * activation[:, None]
    ridge = problem.strength * tokens.square().mean() * len(tokens)
    if not bool(ridge > 0):  # no feature fires on any image: nothing to split
        return problem.weight.expand(k, width) / k
    correction = solve_ridge(tokens, target.T @ tokens, ridge)
    return problem.weight / k + correction.double()


def solve_ridge(tokens: Tensor, rows: Tensor, ridge: Tensor) -> Tensor:
    """Solve X (F^T F + r I) = R by conjugate gradients, all rows at once.

    An iteration is two passes over the tokens; as few directions hold most of what features are
    made of, some tens of them do what a factorisation of F^T F costs hundreds for. Where they do
    not, the matrix is factorised after all.

    Args:
        tokens: (n, D), F.
        rows: (k, D), R.
        ridge: r > 0, a scalar.

    Returns:
        (k, D), with a residual of at most 1e-5 of each row of R.
    """
    solution = torch.zeros_like(rows)
    residual = rows.clone()
    direction = residual
    power = residual.square().sum(1, keepdim=True)
    goal = power * _SOLVED**2
    tiny = torch.finfo(rows.dtype).tiny
    for _ in range(_CG_STEPS):
        if bool((power <= goal).all()):
            return solution
        image = (direction @ tokens.T) @ tokens + ridge * direction
        step = power / (direction * image).sum(1, keepdim=True).clamp(min=tiny)
        solution = solution + step * direction
        residual = residual - step * image
        before, power = power, residual.square().sum(1, keepdim=True)
        direction = residual + power / before.clamp(min=tiny) * direction
    return _factorised(tokens, rows, ridge)


def _factorised(tokens: Tensor, rows: Tensor, ridge: Tensor) -> Tensor:
    """The same by Cholesky factorisation, of an n x n matrix where that is the smaller one."""
    if len(tokens) >= tokens.shape[1]:
        gram = tokens.T @ tokens
        gram.diagonal().add_(ridge)
        return torch.cholesky_solve(rows.T, torch.linalg.cholesky(gram)).T
    gram = tokens @ tokens.T
    gram.diagonal().add_(ridge)
    inner = torch.cholesky_solve(tokens @ rows.T, torch.linalg.cholesky(gram))  # Woodbury
    return (rows - inner.T @ tokens) / ridge


def cam_shares(coefficients: Tensor) -> Tensor:
    """Share of each part at each token, (n, k): e_i / sum_j e_j, and 1/k where the sum is 0."""
    total = coefficients.sum(dim=-1, keepdim=True)
    equal = torch.full_like(coefficients, 1 / coefficients.shape[-1])
    return torch.where(total > 0, coefficients / total.clamp(min=1e-30), equal)


def _equal(problem: ClassProblem) -> Tensor:
    k = len(problem.parts)
    return problem.weight.new_full((k, 1), 1 / k)


def _alpha(problem: ClassProblem) -> Tensor | None:
    alpha = problem.alpha
    total = alpha.sum()
    if total.abs() <= _ILL_CONDITIONED * alpha.abs().sum():
        return None
    return (alpha / total)[:, None]


def _channel_share(problem: ClassProblem) -> Tensor:
    parts = problem.parts.double()
    total = parts.sum(dim=0, keepdim=True)
    return torch.where(total > 0, parts / total.clamp(min=1e-300), 1 / len(parts))


def _nelder_mead(problem: ClassProblem) -> Tensor:
    """Scalars B_i >= 0 that keep each map x p~_i most correlated with its map x p_i.

    Without the sign constraint (ours) correlation can grow for ever larger, cancelling shares.
    Everything the objective needs is in a few moments of the maps, so one evaluation costs k
    operations, whatever the number of tokens.
    """
    k = len(problem.parts)
    if k == 1:
        return _equal(problem)
    residual = problem.residual
    tokens = problem.tokens.double()
    maps = tokens @ problem.parts.double().T
    maps, rest = maps - maps.mean(0), tokens @ residual
    rest = rest - rest.mean()
    alpha = problem.alpha.cpu().numpy()
    variance = maps.square().sum(0).cpu().numpy()
    cross = (maps * rest[:, None]).sum(0).cpu().numpy()
    power = float(rest.square().sum())

    def disagreement(free: NDArray[np.float64]) -> float:
        last = 1 - free.sum()
        if last < 0:  # outside the simplex: worse than any correlation, and sloping back
            return 1.0 - float(last)
        share = np.append(free, last)
        covariance = alpha * variance + share * cross
        spread = alpha**2 * variance + 2 * alpha * share * cross + share**2 * power
        norm = (variance * spread).clip(min=1e-30) ** 0.5
        return -float((covariance / norm).mean())

    start = _equal(problem)[:-1, 0].cpu().numpy()
    found = minimize(
        disagreement,
        start,
        method="Nelder-Mead",
        bounds=[(0, 1)] * (k - 1),
        options={"maxiter": 200 * k},
    )
    return torch.from_numpy(np.append(found.x, 1 - found.x.sum())).to(residual.device)[:, None]


_RESIDUAL_SHARES: dict[str, Callable[[ClassProblem], Tensor | None]] = {
    "equal": _equal,
    "alpha": _alpha,
    "channel_share": _channel_share,
    "nelder_mead": _nelder_mead,
}
