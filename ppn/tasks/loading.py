"""A prototype network from its checkpoint, without a Trainer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ppn.classifier.record import (
    CLASS_NAMES,
    expect_content,
    expect_model,
    expect_trusted,
    read_record,
)
from ppn.classifier.weights import read_checkpoint, state_dict_of
from ppn.errors import CheckpointError, PPNError
from ppn.tasks.prototypes import EXTRAS, PrototypeTask

if TYPE_CHECKING:
    from ppn.classifier.record import Record


def load_network(path: str, architecture: str | None = None) -> PrototypeTask:
    """Load a prototype network from its checkpoint, for use without a Trainer.

    Args:
        path: The checkpoint.
        architecture: Needed only if the model is made by a user's own code, as `module:factory`.

    Raises:
        CheckpointError: If the file is unreadable or holds something else.
    """
    content = read_checkpoint(path)
    record = read_record(path, content)
    expect_model(path, record, "PrototypeTask", "give the checkpoint of a prototype network")
    expect_trusted(path, record, architecture)
    _expect_sizes(path, record, content)
    try:
        network = PrototypeTask(record.num_classes, **record.structure)
    except Exception as error:
        if isinstance(error, PPNError) or architecture is not None:
            raise  # a user's own code: its traceback says more
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(
            f"Checkpoint {path} describes a network that cannot be made ({reason}): it is damaged, "
            "or made by another version of ppn."
        ) from None
    expect_content(path, content, network, EXTRAS)
    network.load_state_dict(content["state_dict"])
    network.on_load_checkpoint(content)
    return network.eval()


def _expect_sizes(path: str, record: Record, content: dict[str, Any]) -> None:
    """Before memory is taken for a network, hold its sizes against the tensors that are there."""
    index = state_dict_of(content).get("dictionary.patch_index")
    names = ("k", "num_patches")
    sizes = [record.num_classes, *(record.structure.get(name) for name in names)]
    class_names = content.get(CLASS_NAMES)
    counts = {record.num_classes, *([len(class_names)] if isinstance(class_names, list) else [])}
    if index is None or list(index.shape) != sizes or len(counts) > 1:
        raise CheckpointError(
            f"Checkpoint {path} does not hold the prototypes that it describes: it is damaged, or "
            "made by another version of ppn."
        )
