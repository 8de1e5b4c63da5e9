"""Logits, contributions and maps of images in one module that can be traced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor, nn

from ppn.errors import HeadError
from ppn.prototypes.arguments import one_of
from ppn.prototypes.head import prototype_maps

if TYPE_CHECKING:
    from ppn.prototypes.network import PrototypeNetwork
    from ppn.types import Tokens

Maps = Literal["predicted", "all", "none"]
"""Maps of the predicted class, of every class, or none."""


class Graph(nn.Module):
    """What is exported of a network: images in, `outputs` out.

    logits (B, C) are the sums of contributions (B, C, k) and bias; maps are (B, k, H, W) of the
    class with the largest logit, or (B, C, k, H, W) of all.

    Args:
        network: The network, with its edits.
        maps_of: Which classes' maps.

    Raises:
        DataError: If there is no such choice of maps.
        HeadError: If its maps are gradients, which no graph for inference holds.
    """

    def __init__(self, network: PrototypeNetwork, maps_of: Maps = "predicted") -> None:
        super().__init__()
        one_of("maps_of", maps_of, get_args(Maps))
        if maps_of != "none" and network.classifier.inspection.case == "pre_logits":
            raise HeadError(
                "Maps of this classifier are gradients, which a graph for inference cannot hold: "
                "export logits and contributions with --maps_of none."
            )
        self.network = network
        self.maps = maps_of

    @property
    def outputs(self) -> list[str]:
        """Names of what `forward` returns."""
        return ["logits", "contributions", *(["maps"] if self.maps != "none" else [])]

    @torch.no_grad()
    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Explain images (B, channels, H, W)."""
        network = self.network
        tokens: Tokens = network.classifier(network.classifier.accept(images), self.maps != "none")
        logits, contributions = network.head(tokens)
        if self.maps == "none":
            return logits, contributions
        prototypes = network.head.prototypes
        if self.maps == "predicted":
            return logits, contributions, network.head.maps(tokens, logits.argmax(1))
        everything = prototypes.flatten(0, 1).expand(logits.shape[0], -1, -1)
        maps = prototype_maps(tokens, everything)
        return (
            logits,
            contributions,
            maps.reshape(maps.shape[0], *prototypes.shape[:2], *maps.shape[2:]),
        )
