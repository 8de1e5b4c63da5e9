"""What a checkpoint holds of a network beside its tensors, written and read in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ppn.classifier.architecture import make_model
from ppn.classifier.model import Classifier
from ppn.classifier.placement import Placed
from ppn.classifier.record import (
    KEY,
    expect_content,
    expect_model,
    expect_trusted,
    read_record,
)
from ppn.classifier.weights import read_checkpoint
from ppn.errors import CheckpointError, PPNError
from ppn.io.files import replacing
from ppn.io.schema import Maybe, mismatch
from ppn.prototypes.editing import SCHEMA, edit_rows, parse_edits
from ppn.prototypes.network import PrototypeNetwork
from ppn.prototypes.stored import misnamed

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from ppn.classifier.record import Record

PREFIX = "network."
"""Of the network's tensors in a checkpoint of `PrototypeTask`."""
ENTRY = KEY + "_network"
_PLACED = {
    "features": Maybe(str),
    "leaf": int,
    "layout": str,
    "prefix": int,
    "suffix": int,
    "share": float,
}
_SCHEMA = {
    "refinements": [{"name": str, "exact": bool}],
    "class_names": [str],
    "image_names": [[[str]]],
    "certificate": dict,
    "settings": dict,
    "parts": Maybe({"names": [str], "remainder": bool}),
    "edits": SCHEMA,
    "placed": Maybe(_PLACED),
}
_HEAD = PREFIX + "heads.0.prototypes"


def write_entry(network: PrototypeNetwork, checkpoint: dict[str, Any]) -> None:
    """Add to a checkpoint what its tensors do not say; they are those before edits."""
    checkpoint[ENTRY] = {
        "refinements": [{"name": h.name, "exact": h.exact} for h in network.each_head()],
        "class_names": network.class_names,
        "image_names": network.image_names,
        "certificate": network.certificate,
        "settings": network.settings,
        "parts": {"names": network.part_names, "remainder": network.remainder},
    }
    placed = network.classifier.inspection.placed
    if placed is not None:
        checkpoint[ENTRY]["placed"] = placed._asdict()
    if network.edits:
        checkpoint[ENTRY]["edits"] = [edit.to_dict() for edit in network.edits]
        checkpoint["state_dict"] = {**checkpoint["state_dict"], _HEAD: network.head.unedited()}


def read_entry(network: PrototypeNetwork, checkpoint: dict[str, Any], place: str) -> None:
    """Take over what a checkpoint says beside its tensors; its heads replace the network's own.

    Args:
        network: A network of the checkpoint's sizes.
        checkpoint: Its content; edits are made in its tensors, which are to be loaded next.
        place: What it is called in messages.

    Raises:
        CheckpointError: If the entry is missing or damaged.
    """
    entry: Any = checkpoint.get(ENTRY)
    wrong = mismatch({ENTRY: entry}, {ENTRY: _SCHEMA})
    if wrong is None and len(entry["class_names"]) != len(network.class_names):
        wrong = f"it names {len(entry['class_names'])} classes"
    if wrong is None and not entry["refinements"]:
        wrong = "it has no refinement"
    if wrong is None:
        parts = entry.get("parts") or {"names": [], "remainder": False}
        wrong = misnamed(parts["names"], parts["remainder"], network.k)
    if wrong is not None:
        raise _damaged(place, wrong)
    network.hold_names(parts["names"], parts["remainder"])
    network.hold_heads({kept["name"]: kept["exact"] for kept in entry["refinements"]})
    network.class_names, network.image_names = entry["class_names"], entry["image_names"]
    network.certificate, network.settings = entry["certificate"], entry["settings"]
    if entry.get("edits"):
        _edit(network, checkpoint, entry["edits"], place)


def _edit(network: PrototypeNetwork, checkpoint: dict[str, Any], edits: Any, place: str) -> None:  # noqa: ANN401
    state = dict(checkpoint.get("state_dict") or {})
    rows, found = state.get(_HEAD), state.get(PREFIX + "dictionary.found")
    shape = network.head.prototypes.shape
    if rows is None or found is None or rows.shape != shape or found.shape != shape[:1]:
        raise _damaged(place, "its prototypes are not those that it describes")
    try:
        parsed = parse_edits(edits, found, network.k)
    except ValueError as error:
        raise _damaged(place, str(error)) from None
    state[_HEAD] = rows.clone()
    network.head.originals = edit_rows(state[_HEAD], parsed)
    network.head.prototypes.copy_(state[_HEAD])
    network.note_edits(parsed)
    checkpoint["state_dict"] = state


def load_checkpoint(path: str, architecture: str | None = None) -> PrototypeNetwork:
    """Load a network, with its classifier, from a checkpoint of `PrototypeTask`.

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
    _network_state(path, record, content)
    made = record.structure
    try:
        model = make_model(
            made["architecture"],
            record.num_classes,
            False,
            made.get("image_size"),
            made.get("model_options"),
        )
        _load_model(path, model.model, content)  # first: what weights do is found by running them
        classifier = Classifier(model.model, model.config, model.features, _placed(content)).eval()
        network = PrototypeNetwork(classifier, made["k"], {}, made["num_patches"])
    except Exception as error:
        if isinstance(error, PPNError) or architecture is not None:
            raise  # a user's own code: its traceback says more
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(
            f"Checkpoint {path} describes a network that cannot be made ({reason}): it is damaged, "
            "or made by another version of ppn."
        ) from None
    read_entry(network, content, f"Checkpoint {path}")
    state = _network_state(path, record, content)  # with the edits
    expect_content(path, {"state_dict": state}, network, {})
    for name, module in network.named_children():
        if name != "classifier":  # which has its weights already
            module.load_state_dict(_below(f"{name}.", state))
    network.structure = {**made, "features": model.features}
    return network


def save_edited(network: PrototypeNetwork, path: str, target: Path) -> None:
    """Write the checkpoint that a network was loaded from again, with the edits it has now.

    Args:
        network: What `load_checkpoint` has given, edited.
        path: The checkpoint it was given for.
        target: The checkpoint to write.

    Raises:
        DataError: If it cannot be written.
    """
    content = read_checkpoint(path)  # whose tensors are those before edits
    write_entry(network, content)
    with replacing(target) as temporary:
        torch.save(content, temporary)


def _load_model(path: str, model: nn.Module, content: dict[str, Any]) -> None:
    kept = content.get("state_dict")
    state = _below(PREFIX + "classifier.model.", kept if isinstance(kept, dict) else {})
    expect_content(path, {"state_dict": state}, model, {})
    model.load_state_dict(state)


def _placed(content: dict[str, Any]) -> Placed | None:
    """Where patches were measured to be: most of the time that loading takes would go into that."""
    entry = content.get(ENTRY)
    kept = entry.get("placed") if isinstance(entry, dict) else None
    if kept is None or mismatch(kept, _PLACED) is not None:
        return None  # a damaged entry is refused when the rest of it is read
    return Placed(**{name: kept.get(name) for name in Placed._fields})


def _below(prefix: str, state: dict[str, Any]) -> dict[str, Any]:
    """The entries of a state dict below a prefix, without it."""
    return {
        str(name).removeprefix(prefix): value
        for name, value in state.items()
        if str(name).startswith(prefix)
    }


def _network_state(path: str, record: Record, content: dict[str, Any]) -> dict[str, Any]:
    """The network's tensors; their sizes are checked before memory is taken for a network."""
    kept = content.get("state_dict")
    state = _below(PREFIX, kept if isinstance(kept, dict) else {})
    index = state.get("dictionary.patch_index")
    sizes = [record.num_classes, *(record.structure.get(name) for name in ("k", "num_patches"))]
    if list(getattr(index, "shape", ())) != sizes:
        raise _damaged(f"Checkpoint {path}", "its prototypes are not those that it describes")
    return state


def _damaged(place: str, reason: str) -> CheckpointError:
    return CheckpointError(
        f"{place} does not hold what it says ({reason}): it is damaged, or made by another version "
        "of ppn."
    )
