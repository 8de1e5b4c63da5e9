"""Maps of directions that were made once for each class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ppn.explainers.base import Attribution, Explainer
from ppn.prototypes.head import prototype_maps

if TYPE_CHECKING:
    from torch import Tensor

    from ppn.explainers.base import Inputs
    from ppn.prototypes.network import PrototypeNetwork


class Directions(Explainer):
    """Explains by directions whose sum is the class's row of the head: exact, whatever they are.

    Attributes:
        directions: (C, k, D) float32, set by a subclass.
    """

    exact = True
    additive = True
    directions: Tensor

    @property
    def maps_per_class(self) -> int:
        """Directions per class."""
        return self.directions.shape[1]

    def prepare(self, network: PrototypeNetwork) -> None:
        """Note the bias, and whether maps are meant to average to contributions."""
        self.bias = network.head.bias
        self.additive = not network.classifier.inspection.indicative

    def attribute(self, inputs: Inputs, target: Tensor) -> Attribution:
        """Return the map of each direction, and what it adds to the logit."""
        own = self._on(target.device)[target]
        with torch.autocast(target.device.type, enabled=False):
            contributions = (own @ self._pooled(inputs)[:, :, None])[..., 0]
        return Attribution(prototype_maps(inputs.tokens, own), contributions)

    def class_directions(self) -> Tensor:
        """Return all of them but for a remainder, which is no part."""
        return self.directions[:, : self.places]

    def surrogate(self, inputs: Inputs) -> Tensor:
        """Return the sum of all contributions, and the bias, of every class."""
        pooled = self._pooled(inputs)
        with torch.autocast(pooled.device.type, enabled=False):
            return pooled @ self._on(pooled.device).sum(1).T + self.bias.to(pooled.device)

    def _pooled(self, inputs: Inputs) -> Tensor:
        tokens = inputs.tokens
        return tokens.pooled.float() * tokens.scale.float()[:, None]

    def _on(self, device: torch.device) -> Tensor:
        """The directions where they are wanted, moved once."""
        if self.directions.device != device:
            self.directions = self.directions.to(device)
        return self.directions
