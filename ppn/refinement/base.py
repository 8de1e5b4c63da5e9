"""What every refinement is: a row of the head to prototypes that sum to it (method: step 2)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import torch

from ppn.configured import Configured

if TYPE_CHECKING:
    from torch import Tensor

AlphaSolver = Literal["least_squares", "nonnegative"]
"""Whether alpha may be negative: a negative one turns a map upside down."""


@dataclass(frozen=True)
class ClassProblem:
    """All that a refinement may look at: one class.

    Attributes:
        tokens: (n, D) raw patch tokens of the class's training images, image after image.
        coefficients: (n, k) non-negative coefficients of the parts at each token.
        parts: (k, D) discovered directions p_i.
        weight: (D,) float64, row v of the classification head.
        grid: (H, W) of the tokens of one image; n is a multiple of H * W.
        remainder: Whether the last part is what no other covers, wherever in the image it is.
    """

    tokens: Tensor
    coefficients: Tensor
    parts: Tensor
    weight: Tensor
    grid: tuple[int, int] = (0, 0)
    remainder: bool = False

    @cached_property
    def alpha(self) -> Tensor:
        """(k,) float64, argmin ||v - sum_i alpha_i p_i||^2 (step 2a)."""
        parts = self.parts.double()
        # The pseudo-inverse copes with parallel parts.
        inverse: Tensor = torch.linalg.pinv(parts @ parts.T, hermitian=True)
        return inverse @ (parts @ self.weight)

    @cached_property
    def nonnegative_alpha(self) -> Tensor:
        """(k,) float64, the same over alpha >= 0."""
        from scipy.optimize import nnls  # slow to import

        solution, _ = nnls(self.parts.double().T.cpu().numpy(), self.weight.cpu().numpy())
        return torch.from_numpy(solution).to(self.parts.device)

    @cached_property
    def residual(self) -> Tensor:
        """(D,) float64, r = v - sum_i alpha_i p_i (step 2b)."""
        return self.weight - self.alpha @ self.parts.double()


class Refined(NamedTuple):
    """`prototypes` (k, D) float32; `fell_back` whether shares of the residual had to be equal."""

    prototypes: Tensor
    fell_back: bool = False


class Refinement(Configured, ABC):
    """Splits a row of the classification head among the parts of its class.

    Attributes:
        exact: Whether prototypes sum to the row within 1e-6 of its largest entry, in float32. One
            that cannot promise this is a baseline, shown for comparison only.
    """

    exact: ClassVar[bool] = True

    @abstractmethod
    def refine(self, problem: ClassProblem) -> Refined:
        """Return the prototypes of one class.

        Args:
            problem: The class.

        Returns:
            Prototypes whose sum is `problem.weight`; pass them through `exact_sum`.
        """


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
