"""Each channel's residual for the parts that own the channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ppn.refinement.residual import ResidualShares

if TYPE_CHECKING:
    from torch import Tensor

    from ppn.refinement.base import ClassProblem


class ChannelShare(ResidualShares):
    """B_i,d = p_i,d / sum_j p_j,d, and 1/k where no part has the channel (ours)."""

    def shares(self, problem: ClassProblem, alpha: Tensor, residual: Tensor) -> Tensor:
        """Return the share of each part in each channel, (k, D)."""
        parts = problem.parts.double()
        total = parts.sum(dim=0, keepdim=True)
        return torch.where(total > 0, parts / total.clamp(min=1e-300), 1 / len(parts))
