"""The classification head as a sum of prototypes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import _register_namedtuple

if TYPE_CHECKING:
    from ppn.types import Tokens


class HeadOutput(NamedTuple):
    """`logits` (B, C) and `contributions` (B, C, k): logits = contributions.sum(-1) + bias."""

    logits: Tensor
    contributions: Tensor


# `torch.export.save` asks for it by this name; there is no public one for named tuples.
_register_namedtuple(HeadOutput, serialized_type_name="ppn.HeadOutput")


class PrototypeHead(nn.Module):
    """A classification head whose every row is a sum of k prototypes (paper: v_c = sum_i p~_i).

    logit_c = scale * sum_i mean_n <f_n, p~_ci> + b_c, with scale = 1 unless the black box
    normalises its pooled features.

    Args:
        num_classes: C.
        k: Prototypes per class.
        width: D, channels of a patch token.
        name: Name of the refinement that split the rows.
        exact: Whether prototypes sum to the rows.

    Attributes:
        prototypes: (C, k, D) float32 buffer, the refined prototypes.
        bias: (C,) float32 buffer.
        originals: (k, D) of each class that was edited: its prototypes before, on the CPU.
    """

    prototypes: Tensor
    bias: Tensor

    def __init__(
        self, num_classes: int, k: int, width: int, name: str = "", exact: bool = True
    ) -> None:
        super().__init__()
        self.name = name
        self.exact = exact
        shape = (num_classes, k, width)
        self.register_buffer("prototypes", torch.zeros(shape, dtype=torch.float32))
        self.register_buffer("bias", torch.zeros(num_classes, dtype=torch.float32))
        self.originals: dict[int, Tensor] = {}

    def forward(self, tokens: Tokens) -> HeadOutput:
        """Return logits and what each prototype of each class contributes to them."""
        # Half precision would lose what makes the sum exact, and this product is small.
        with torch.autocast(tokens.pooled.device.type, enabled=False):
            pooled = tokens.pooled.float() * tokens.scale.float()[:, None]
            flat = pooled.to(self.prototypes) @ self.prototypes.flatten(0, 1).T
            contributions = flat.reshape(flat.shape[0], *self.prototypes.shape[:2])
            return HeadOutput(contributions.sum(-1) + self.bias, contributions)

    def unedited(self) -> Tensor:
        """Return (C, k, D), the prototypes as they were refined."""
        found = self.prototypes
        if self.originals:
            found = found.clone()
            for label, rows in self.originals.items():
                found[label] = rows.to(found)
        return found

    def change(self, tokens: Tokens) -> Tensor:
        """Return (B, C) float32, what edits add to the black box's logits."""
        changed = torch.zeros_like(tokens.logits, dtype=torch.float32)
        if self.originals:
            labels = list(self.originals)
            before = torch.stack([rows.to(self.prototypes) for rows in self.originals.values()])
            with torch.autocast(tokens.pooled.device.type, enabled=False):
                pooled = tokens.pooled.float() * tokens.scale.float()[:, None]
                changed[:, labels] = pooled @ (self.prototypes[labels] - before).sum(1).T
        return changed

    def maps(self, tokens: Tokens, classes: Tensor) -> Tensor:
        """Return where each prototype of one class per image acts.

        Args:
            tokens: Patch tokens of B images.
            classes: (B,) the class whose prototypes are wanted, one per image.

        Returns:
            (B, k, H, W) float32. Behind a mean, the mean over H and W is the prototype's
            contribution to the logit, and the sum over k is the class activation map.
        """
        return prototype_maps(tokens, self.prototypes[classes])


def prototype_maps(tokens: Tokens, prototypes: Tensor) -> Tensor:
    """Return scale * <f_n, p~_i> on the grid, or what stands for it where layers come between.

    Args:
        tokens: Patch tokens of B images.
        prototypes: (B, k, D), the directions wanted on each image.

    Returns:
        (B, k, H, W) float32.
    """
    with torch.autocast(tokens.pooled.device.type, enabled=False):
        scaled = prototypes.float() * tokens.scale.float()[:, None, None]
        if tokens.attribute is None:
            flat = scaled @ tokens.tokens.float().mT
        else:
            flat = tokens.attribute(scaled).float()
        return flat.reshape(*flat.shape[:2], *tokens.grid)
