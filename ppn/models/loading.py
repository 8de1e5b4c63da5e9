"""A prototype network from its checkpoint, without a Trainer."""

from __future__ import annotations

from ppn.models.prototype_network import PrototypeNetwork
from ppn.models.record import expect_model, expect_trusted, read_record
from ppn.weights import read_checkpoint


def load_network(path: str, architecture: str | None = None) -> PrototypeNetwork:
    """Load a prototype network from its checkpoint, for use without a Trainer.

    Args:
        path: The checkpoint.
        architecture: Needed only if the model is made by a user's own code, as `module:factory`.

    Raises:
        CheckpointError: If the file is unreadable or holds something else.
    """
    content = read_checkpoint(path)
    record = read_record(path, content)
    expect_model(path, record, "PrototypeNetwork", "give the checkpoint of a prototype network")
    expect_trusted(path, record, architecture)
    network = PrototypeNetwork(record.num_classes, **record.structure)
    network.load_state_dict(content["state_dict"])
    network.on_load_checkpoint(content)
    return network.eval()
