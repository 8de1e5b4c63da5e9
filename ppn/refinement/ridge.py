"""Ridge regression onto patch tokens, for a few rows at once."""

from __future__ import annotations

import torch
from torch import Tensor

_SOLVED = 1e-5
_CG_STEPS = 100


def solve_ridge(
    tokens: Tensor,
    rows: Tensor,
    ridge: Tensor,
    start: Tensor | None = None,
    tolerance: float = _SOLVED,
) -> Tensor:
    """Solve X (F^T F + r I) = R by conjugate gradients, all rows at once.

    An iteration is two passes over the tokens; as few directions hold most of what features are
    made of, some tens of them do what a factorisation of F^T F costs hundreds for. Where they do
    not, the matrix is factorised after all.

    Args:
        tokens: (n, D), F.
        rows: (k, D), R.
        ridge: r > 0, a scalar.
        start: (k, D) a guess of the solution, such as that of a similar problem; None: zero.
        tolerance: Norm of the residual over that of each row of R at which to stop.

    Returns:
        (k, D), with a residual of at most `tolerance` of each row of R.
    """
    goal = rows.square().sum(1, keepdim=True) * tolerance**2
    solution = torch.zeros_like(rows) if start is None else start
    residual = rows if start is None else rows - (start @ tokens.T) @ tokens - ridge * start
    direction = residual
    power = residual.square().sum(1, keepdim=True)
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
