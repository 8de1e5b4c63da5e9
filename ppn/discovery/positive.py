"""Patch tokens as the factorisations need them: finite, enough of them, and not negative."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ppn.errors import DiscoveryError

if TYPE_CHECKING:
    from torch import Tensor

    from ppn.discovery.base import ClassTokens


def positive_tokens(item: ClassTokens, k: int) -> Tensor:
    """Return the tokens of a class (n, D), negative ones clipped to zero (the predecessor's rule).

    One pass over the tokens, and no copy where none is needed.

    Args:
        item: The class.
        k: Least number of tokens that it must have.

    Raises:
        DiscoveryError: If tokens are not finite, or fewer than k.
    """
    tokens = item.tokens.float().flatten(0, 1)
    if len(tokens) < k:
        raise DiscoveryError(
            f"Class {item.name} has {len(tokens)} patch tokens, fewer than the {k} prototypes "
            "asked for: lower k or add images."
        )
    low, high = torch.aminmax(tokens)  # NaN in, NaN out
    if not bool(torch.isfinite(low) & torch.isfinite(high)):
        raise DiscoveryError(
            f"The features of class {item.name} contain NaN or infinity: check the classifier's "
            "weights and the precision (bf16-mixed instead of 16-mixed, or 32-true)."
        )
    return tokens if bool(low >= 0) else tokens.clamp(min=0)
