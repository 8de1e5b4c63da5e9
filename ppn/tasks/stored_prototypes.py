"""Between a prototype network and the files that hold its prototypes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ppn.errors import CheckpointError
from ppn.prototypes.files import read_prototypes
from ppn.prototypes.stored import Prototypes, image_names, tensors_of, weights_hash

if TYPE_CHECKING:
    from collections.abc import Callable

    from ppn.tasks.prototypes import PrototypeTask


def describe(network: PrototypeTask, name: Callable[[int], str]) -> Prototypes:
    """Return what defines a network's prototypes: those of the chosen refinement.

    Args:
        network: A network that has prototypes.
        name: Gives the name of a training image by its index.
    """
    return Prototypes(
        tensors_of(network.head, network.dictionary),
        list(network.class_names),
        image_names(network.dictionary, name),
        network.refinement,
        weights_hash(network.classifier.model),
        network.input_config,
        network.record.structure,
        network.settings,
        network.certificate,
    )


def take_stored(folder: str, num_classes: int, classifier_ckpt: str | None) -> Prototypes:
    """Read the prototypes that a network is to take over.

    Raises:
        CheckpointError: If they are unusable, for other classes, or no classifier was given.
    """
    if classifier_ckpt is None:
        raise CheckpointError(
            "prototypes holds no classifier: set model.init_args.classifier_ckpt to the one that "
            "they were found for."
        )
    stored = read_prototypes(Path(folder))
    if stored.shape[0] != num_classes:
        raise CheckpointError(
            f"The prototypes in {folder} are for {stored.shape[0]} classes, the data has "
            f"{num_classes}: use the data that they were found on."
        )
    return stored
