"""What speaks against a prototype, found without looking at it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ppn.explanation.record import part_title

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

LITTLE = 0.1
"""A part carries little below this much of an equal share, 1/k of its class's logit."""
OUTSIDE = 0.5
"""It is mostly background where more of its evidence lies outside of the object."""
ALIKE = 0.95
"""It is like another part of its class where their prototypes have at least this cosine."""


def flags(
    prototypes: Tensor,
    shares: NDArray[np.floating[Any]],
    outside: NDArray[np.floating[Any]],
    names: Sequence[str] = (),
) -> list[tuple[str, ...]]:
    """Return what speaks against each part of one class, in a few words each.

    Args:
        prototypes: (k, D) of the class.
        shares: (k) mean share of the logit that each part carries.
        outside: (k) share of its evidence outside of the object; NaN where that is not known.
        names: Of the parts; none where they have none.
    """
    k = len(prototypes)
    unit = torch.nn.functional.normalize(prototypes.double().cpu(), dim=1)
    alike = (unit @ unit.T).fill_diagonal_(-1.0)
    found = []
    for part in range(k):
        told = []
        if outside[part] > OUTSIDE:
            told.append("mostly background")
        if abs(shares[part]) < LITTLE / k:
            told.append("carries little")
        if k > 1 and float(alike[part].max()) >= ALIKE:
            told.append(f"like {part_title(int(alike[part].argmax()), names).lower()}")
        found.append(tuple(told))
    return found
