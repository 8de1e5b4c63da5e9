"""Any way to find parts with any way to refine them, as one explainer."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

from ppn.discovery.nmf import NMF
from ppn.explainers.directions import Directions
from ppn.prototypes.fit import Fit
from ppn.prototypes.network import PrototypeNetwork
from ppn.refinement.compact_split import CompactSplit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ppn.discovery.base import Discoverer
    from ppn.explainers.training import TrainingImages
    from ppn.prototypes.stream import TokenBatch
    from ppn.refinement.base import Refinement


class PartPrototypes(Directions):
    """The package's own method: finds parts, and splits the head of the classifier among them.

    It makes prototypes of its own on the classifier of the network that it is prepared for, so that
    many ways are compared on one black box.

    Args:
        discoverer: How parts are found; None: `NMF()`.
        refinement: How the rows of the head are split; None: `CompactSplit()`.
        k: Prototypes per class; None: as many as the network has.
    """

    needs_training_images = True
    fitted = ("directions",)

    def __init__(
        self,
        discoverer: Discoverer | None = None,
        refinement: Refinement | None = None,
        k: int | None = None,
    ) -> None:
        self.discoverer = NMF() if discoverer is None else discoverer
        self.refinement = CompactSplit() if refinement is None else refinement
        self.k = k
        self.exact = self.refinement.exact

    @property
    def name(self) -> str:
        """Names of the discoverer and the refinement, and k where it is its own."""
        k = "" if self.k is None else f" (k={self.k})"
        return f"{self.discoverer.name} + {self.refinement.name}{k}"

    @property
    def maps_per_class(self) -> int:
        """Prototypes per class."""
        return self._network.k if self.k is None else self.k

    def prepare(self, network: PrototypeNetwork) -> None:
        """Take over the classifier and the number of prototypes."""
        super().prepare(network)
        self._network = network

    def fit(self, images: TrainingImages) -> None:
        """Find the parts of every class, and refine them."""
        classifier = self._network.classifier
        names = {self.refinement.name: self.exact}
        own = PrototypeNetwork(classifier, self.maps_per_class, names, num_patches=1)
        fit = Fit(own, [self.refinement], deepcopy(self.discoverer))
        names_of_classes = self._network.class_names
        if fit.discoverer.shared:
            fit.learn(_batches(images), names_of_classes)
        fit.run(_batches(images), names_of_classes)
        fit.finish(names_of_classes, str)
        self.directions = own.head.prototypes


def _batches(images: TrainingImages) -> Iterator[TokenBatch]:
    for batch, tokens in images.classes():
        yield tokens, batch["label"].tolist(), batch["index"]
