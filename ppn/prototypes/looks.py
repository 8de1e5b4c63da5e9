"""What the parts of classes look like in an earlier layer, until entries are made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

if TYPE_CHECKING:
    from ppn.discovery.base import ClassTokens

_WIDTH = 512


class Looks(nn.Module):
    """Mean features of an earlier layer at each part, which one class after the other fills.

    Buffers are merged and journaled as those of `PartDictionary` are, but no checkpoint has them.

    Args:
        num_classes: C.
        k: k; 0 where nobody looks.

    Attributes:
        looks: (C, k, 512) projected onto random directions, the same everywhere, so that the size
            does not depend on the layer; zero for classes not found, and without such a layer.
    """

    looks: Tensor

    def __init__(self, num_classes: int, k: int) -> None:
        super().__init__()
        self.register_buffer("looks", torch.zeros(num_classes, k, _WIDTH))

    def take(self, item: ClassTokens, coefficients: Tensor) -> None:
        """Look at the parts of one class.

        Args:
            item: The class.
            coefficients: (n_c * N, k) how much of each part is in each token.
        """
        if item.earlier is None or not self.looks.numel():  # others may look at the same tokens
            return
        mean = normalize(coefficients.float().T @ item.earlier.float().flatten(0, 1), dim=1)
        generator = torch.Generator().manual_seed(0)
        directions = torch.randn(mean.shape[1], _WIDTH, generator=generator)
        self.looks[item.label] = mean @ directions.to(mean) / _WIDTH**0.5
