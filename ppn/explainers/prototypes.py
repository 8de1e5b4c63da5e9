"""The prototypes of one refinement, as an explainer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ppn.explainers.base import Attribution, Explainer

if TYPE_CHECKING:
    from torch import Tensor

    from ppn.explainers.base import Inputs
    from ppn.prototypes.head import HeadOutput, PrototypeHead
    from ppn.prototypes.network import PrototypeNetwork


class PrototypeExplainer(Explainer):
    """Shows where each prototype of a refined head acts, and what it contributes.

    Args:
        head: The head as sums of prototypes.
        additive: Whether its maps are meant to average to contributions; see `HeadInspection`.
    """

    def __init__(self, head: PrototypeHead, additive: bool = True) -> None:
        self.head = head
        self.additive = additive
        self.exact = head.exact and not head.originals  # an edited head is not the black box's
        self.remainder = False

    @property
    def name(self) -> str:
        """Name of the refinement that split the head."""
        return self.head.name

    @property
    def maps_per_class(self) -> int:
        """Prototypes per class."""
        return self.head.prototypes.shape[1]

    @property
    def places(self) -> int:
        """Prototypes per class but for the remainder."""
        return self.maps_per_class - self.remainder

    def prepare(self, network: PrototypeNetwork) -> None:
        """Learn whether the last part is a remainder."""
        self.remainder = network.remainder

    def attribute(self, inputs: Inputs, target: Tensor) -> Attribution:
        """Return the maps (B, k, H, W) and contributions (B, k) of each image's target class."""
        contributions = self.head(inputs.tokens).contributions
        rows = torch.arange(len(target), device=target.device)
        return Attribution(self.head.maps(inputs.tokens, target), contributions[rows, target])

    def surrogate(self, inputs: Inputs) -> Tensor:
        """Return the head's own logits."""
        output: HeadOutput = self.head(inputs.tokens)
        return output.logits
