"""The class activation map itself: what every exact split adds up to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppn.explainers.directions import Directions

if TYPE_CHECKING:
    from ppn.prototypes.network import PrototypeNetwork


class CAM(Directions):
    """Token times the class's row of the head, before it is split (Zhou et al., CVPR 2016).

    The map is not clipped at zero. Its contribution is the logit without the bias.
    """

    key = "cam"
    title = "CAM"

    def prepare(self, network: PrototypeNetwork) -> None:
        """Take the rows of the head."""
        super().prepare(network)
        weight, _ = network.classifier.effective_head()
        self.directions = weight.float()[:, None]
