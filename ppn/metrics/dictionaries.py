"""Are the same parts found again, with another seed or from the other half of the images?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from scipy.optimize import linear_sum_assignment

if TYPE_CHECKING:
    from torch import Tensor


def dictionary_agreement(first: Tensor, second: Tensor) -> Tensor:
    """Mean cosine of the prototypes of each class with those they are matched with.

    Matched so that the sum of 1 - cos is smallest (Hungarian method). With unequal numbers the
    smaller set is matched, and the rest of the larger one is left out.

    Args:
        first: (C, k, D) of one fit.
        second: (C, m, D) of another one.

    Returns:
        (C,) float64 in [-1, 1]; a zero vector has the cosine 0 with all.
    """
    units = [
        torch.nn.functional.normalize(directions.double(), dim=2) for directions in (first, second)
    ]
    similar = (units[0] @ units[1].mT).cpu().numpy()
    means = []
    for cosines in similar:
        rows, columns = linear_sum_assignment(1 - cosines)
        means.append(float(cosines[rows, columns].mean()))
    return torch.tensor(means, dtype=torch.float64)
