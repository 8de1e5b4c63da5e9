"""Maps of directions that were made once for each class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ppn.explainers.base import Attribution, Explainer
from ppn.prototypes.head import prototype_maps

if TYPE_CHECKING:
    from torch import Tensor

    from ppn.explainers.base import Inputs


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

    def attribute(self, inputs: Inputs, target: Tensor) -> Attribution:
        """Return the map of each direction, and what it adds to the logit."""
        own = self.directions.to(target.device)[target]
        tokens = inputs.tokens
        with torch.autocast(tokens.pooled.device.type, enabled=False):
            pooled = tokens.pooled.float() * tokens.scale.float()[:, None]
            contributions = (own @ pooled[:, :, None])[..., 0]
        return Attribution(prototype_maps(tokens, own), contributions)
