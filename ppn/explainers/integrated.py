"""Maps that add up, as explainers: from a layer's tokens, or from the pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from ppn.classifier.complete import MOST_NODES, Baseline
from ppn.explainers.base import Attribution, Explainer
from ppn.explanation.attribute import attributed, shown_kind, span_of

if TYPE_CHECKING:
    from torch import Tensor

    from ppn.explainers.base import Inputs
    from ppn.prototypes.network import PrototypeNetwork


class IntegratedMaps(Explainer):
    """The network's own prototypes with path-integrated maps (Aumann-Shapley).

    Args:
        maps: "complete": over the tokens of a layer; "pixels": over the picture itself.
        tolerance: Completeness error allowed, over the contributions' standard deviation.
        baseline: What images are compared with.
        cut: Module whose output complete maps are of; None takes the default.
        most_nodes: Points of the finest quadrature. From the pixels, networks with kinks need
            hundreds; with fewer, maps miss what `Completeness` says.
    """

    additive = True

    def __init__(
        self,
        maps: Literal["complete", "pixels"] = "complete",
        tolerance: float = 0.01,
        baseline: Baseline = "blurred",
        cut: str | None = None,
        most_nodes: int = MOST_NODES,
    ) -> None:
        self.maps = maps
        self.tolerance = tolerance
        self.baseline = baseline
        self._expect_word("maps", Literal["complete", "pixels"])
        self._expect_word("baseline", Baseline)
        self._expect_positive("tolerance")
        self.cut = cut
        self.most_nodes = most_nodes
        self._expect_least(4, "most_nodes")
        self.title = f"path integral, {maps if cut is None else cut}"

    @property
    def maps_per_class(self) -> int:
        """Prototypes per class."""
        return self.network.k

    def prepare(self, network: PrototypeNetwork) -> None:
        """Take the network's classifier and prototypes."""
        self.network = network
        self.exact = network.head.exact

    def attribute(self, inputs: Inputs, target: Tensor) -> Attribution:
        """Return maps (B, k, H, W), contributions and what is not in the maps (B, k)."""
        network = self.network
        contributions = network.head(inputs.tokens).contributions
        rows = torch.arange(len(target), device=target.device)
        if shown_kind(network.classifier, self.maps, self.cut) == "cells":  # complete as they are
            return Attribution(
                network.head.maps(inputs.tokens, target), contributions[rows, target]
            )
        images = network.classifier.accept(inputs.images)
        found = attributed(
            network.classifier,
            network.head,
            span_of(network.classifier, images, self.maps, self.cut),
            images,
            target,
            contributions,
            self.tolerance,
            self.baseline,
            most=self.most_nodes,
        )
        return Attribution(
            found.maps, contributions[rows, target], found.elsewhere + found.baseline
        )

    def contributions(self, inputs: Inputs, target: Tensor) -> Tensor:
        """Return the head's (B, k), for which nothing is integrated."""
        rows = torch.arange(len(target), device=target.device)
        contributions: Tensor = self.network.head(inputs.tokens).contributions
        return contributions[rows, target]

    def surrogate(self, inputs: Inputs) -> Tensor:
        """Return the head's own logits (B, C)."""
        logits: Tensor = self.network.head(inputs.tokens).logits
        return logits
