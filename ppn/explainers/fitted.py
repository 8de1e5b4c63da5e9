"""Prototypes that another run has found for the same classifier, from their files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ppn.explainers.prototypes import PrototypeExplainer
from ppn.prototypes.files import read_prototypes
from ppn.prototypes.head import PrototypeHead

if TYPE_CHECKING:
    from ppn.prototypes.network import PrototypeNetwork


class FittedPrototypes(PrototypeExplainer):
    """Another run's prototypes, to be scored beside a network's own on the same images.

    Args:
        folder: With `prototypes.safetensors` and `prototypes.json`, found for this very classifier.
        title: Name in tables.
    """

    def __init__(self, folder: str, title: str = "") -> None:
        self.folder = folder
        self.title = title

    @property
    def name(self) -> str:
        """What it is, and where it is from."""
        return f"{self.key}(folder={self.folder})"

    def prepare(self, network: PrototypeNetwork) -> None:
        """Read them, and hold them against the network's classifier.

        Raises:
            CheckpointError: If they are unreadable, or were found for another classifier.
        """
        folder = Path(self.folder)
        stored = read_prototypes(folder)
        own = network.classifier
        stored.expect_classifier(folder, own.model, *own.effective_head())
        classes, k, width, _ = stored.shape
        head = PrototypeHead(classes, k, width, stored.refinement, stored.exact)
        head.prototypes.copy_(stored.tensors["prototypes"])
        head.bias.copy_(stored.tensors["bias"])
        super().__init__(head.to(network.device), not own.inspection.indicative)
        self.remainder = stored.remainder
