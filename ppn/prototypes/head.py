"""The classification head as a sum of prototypes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from ppn.types import Tokens
from ppn.discovery.factorization import nonnegative_coefficients
from ppn.errors import DiscoveryError
from ppn.refinement.refine import cam_shares


class HeadOutput(NamedTuple):
    """`logits` (B, C) and `contributions` (B, C, k): logits = contributions.sum(-1) + bias."""

    logits: Tensor
    contributions: Tensor


class PrototypeHead(nn.Module):
    """A classification head whose every row is a sum of k prototypes (paper: v_c = sum_i p~_i).

    logit_c = scale * sum_i mean_n <f_n, p~_ci> + b_c, with scale = 1 unless the black box
    normalises its pooled features.

    Args:
        num_classes: C.
        k: k, prototypes per class.
        width: D, channels of a patch token.
        learnable: Whether gradients may move the split; the sum stays where it is.

    Attributes:
        prototypes: (C, k, D) float32 buffer, what closed-form refinement gave.
        offset: (C, k, D) parameter; only its deviation from its mean over k is used, so every
            value of it is exact. None unless learnable.
        bias: (C,) float32 buffer.
    """

    prototypes: Tensor
    bias: Tensor

    def __init__(self, num_classes: int, k: int, width: int, learnable: bool = False) -> None:
        super().__init__()
        if k < 1:
            raise DiscoveryError(f"k is {k}, but must be at least 1.")
        shape = (num_classes, k, width)
        self.register_buffer("prototypes", torch.zeros(shape))
        self.register_buffer("bias", torch.zeros(num_classes))
        self.offset = nn.Parameter(torch.zeros(shape)) if learnable else None

    @property
    def refined(self) -> Tensor:
        """(C, k, D) the refined prototypes; their sum over k is the head."""
        if self.offset is None:
            return self.prototypes
        return self.prototypes + self.offset - self.offset.mean(dim=1, keepdim=True)

    def forward(self, tokens: Tokens) -> HeadOutput:
        """Return logits and what each prototype of each class contributes to them."""
        # Half precision would lose what makes the sum exact, and this product is small.
        with torch.autocast(tokens.pooled.device.type, enabled=False):
            pooled = tokens.pooled.float() * tokens.scale.float()[:, None]
            flat = pooled @ self.refined.flatten(0, 1).T
            contributions = flat.reshape(len(flat), *self.prototypes.shape[:2])
            return HeadOutput(contributions.sum(-1) + self.bias, contributions)

    def maps(self, tokens: Tokens, classes: Tensor) -> Tensor:
        """Return where each prototype of one class per image acts.

        Args:
            tokens: Patch tokens of B images.
            classes: (B,) the class whose prototypes are wanted, one per image.

        Returns:
            (B, k, H, W) float32. Behind a mean, the mean over H and W is the prototype's
            contribution to the logit, and the sum over k is the class activation map.
        """
        return prototype_maps(tokens, self.refined[classes])


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


def split_loss(tokens: Tokens, maps: Tensor, parts: Tensor) -> Tensor:
    """How far maps are from their parts' shares of the class activation map.

    The target of part i is its share of the non-negative coefficients at each token, times the
    class activation there: what `cam_split` solves in closed form on the training images.

    Args:
        tokens: Patch tokens of B images.
        maps: (B, k, H, W) maps of the prototypes of each image's class, with gradient.
        parts: (B, k, D) discovered parts of that class.

    Returns:
        Mean squared error over the mean square of the class activation map, a scalar.
    """
    with torch.no_grad():
        shares = cam_shares(nonnegative_coefficients(tokens.tokens.float().clamp(min=0), parts))
        activation = maps.sum(dim=1, keepdim=True)
        target = shares.mT.reshape(maps.shape) * activation
        power = activation.square().mean().clamp(min=torch.finfo(torch.float32).tiny)
    return (maps - target).square().mean() / power
