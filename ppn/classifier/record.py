"""What a checkpoint says of itself: class, version, and how to build its model again."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ppn.classifier.architecture import is_code
from ppn.classifier.weights import read_checkpoint
from ppn.errors import CheckpointError
from ppn.io.schema import Maybe, mismatch
from ppn.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

KEY = "ppn"
CLASS_NAMES = KEY + "_class_names"
"""Entry of a checkpoint with the names of the classes that it was trained on."""

_STRUCTURE = {
    "architecture": str,
    "image_size": Maybe(int),
    "model_options": Maybe(dict),
    "k": Maybe(int),
    "num_patches": Maybe(int),
    "classifier_classes": Maybe(int),
    "width": Maybe(int),
    "similarity": Maybe(str),
}
_SCHEMA = {"model": str, "num_classes": int, "structure": _STRUCTURE, "version": str}


@dataclass(frozen=True)
class Record:
    """The entry `ppn` of a checkpoint.

    Attributes:
        model: Name of the LightningModule that wrote it.
        num_classes: Number of classes.
        structure: The constructor's arguments that the shapes of the state dict depend on.
        version: Version of the package that wrote it.
    """

    model: str
    num_classes: int
    structure: dict[str, Any]
    version: str = __version__

    def write(self, checkpoint: dict[str, Any]) -> None:
        """Add the record to a checkpoint that is about to be saved."""
        checkpoint[KEY] = asdict(self)


def read_record(path: str | Path, content: dict[str, Any] | None = None) -> Record:
    """Return a checkpoint's record.

    Args:
        path: The checkpoint file, which errors name.
        content: Its content, if already read.

    Raises:
        CheckpointError: If the file is unreadable or was not written by this package.
    """
    content = read_checkpoint(path) if content is None else content
    found = content.get(KEY)
    if found is None or mismatch(found, _SCHEMA) is not None:
        raise CheckpointError(
            f"Checkpoint {path} was not written by ppn: give one made by `ppn fit`, or a state "
            "dict together with architecture."
        )
    if found["model"] == "ClassificationTask":  # whose data may have fewer classes
        found["structure"].setdefault("classifier_classes", found["num_classes"])
    return Record(**{name: found[name] for name in _SCHEMA})


def expect_content(
    path: str | Path, content: dict[str, Any], module: nn.Module, extras: dict[str, Any]
) -> None:
    """Refuse a checkpoint whose content is not what its record promises.

    Args:
        path: The checkpoint file.
        content: Its content.
        module: Made as its record says.
        extras: Schema of the other entries that will be used.

    Raises:
        CheckpointError: If tensors are lacking, too many or of another shape, or an entry is of
            another kind.
    """
    ours, state = module.state_dict(), content.get("state_dict")
    theirs = state if isinstance(state, dict) else {}
    wrong = [
        str(name)
        for name in (*ours, *(key for key in theirs if key not in ours))
        if getattr(theirs.get(name), "shape", None) != getattr(ours.get(name), "shape", ())
    ]
    reason = f"tensor {wrong[0]!r} does not fit" if wrong else mismatch(content, extras)
    if reason is not None:
        raise CheckpointError(
            f"Checkpoint {path} does not hold what it says ({reason}): it is damaged, or made by "
            "another version of ppn."
        )


def expect_model(path: str | Path, record: Record, model: str, fix: str) -> None:
    """Refuse a checkpoint of another class.

    Raises:
        CheckpointError: If the record names another class; `fix` says what to give instead.
    """
    if record.model != model:
        raise CheckpointError(f"Checkpoint {path} holds a {record.model}, not a {model}: {fix}.")


def expect_classes(path: str | Path, record: Record, num_classes: int) -> None:
    """Refuse a checkpoint with another number of classes than the data.

    Raises:
        CheckpointError: If the numbers differ.
    """
    if record.num_classes != num_classes:
        raise CheckpointError(
            f"Checkpoint {path} has {record.num_classes} classes, the data {num_classes}: use "
            "the data that it was trained on."
        )


def expect_trusted(path: str | Path, record: Record, named: str | None) -> None:
    """Refuse to run code that only a checkpoint names.

    Args:
        path: The checkpoint file.
        record: What it says of itself.
        named: The architecture that the user names, if any.

    Raises:
        CheckpointError: If the model is made by a function that the user has not named.
    """
    architecture = str(record.structure.get("architecture"))
    if is_code(architecture) and named != architecture:
        raise CheckpointError(
            f"Checkpoint {path} wants to run '{architecture}' to make its model: if you trust it, "
            f"say so with --model.architecture {architecture}."
        )


def classifier_record(path: str | Path) -> Record:
    """Return how the classifier in a `ClassificationTask`'s checkpoint is made.

    Args:
        path: The checkpoint file.

    Raises:
        CheckpointError: If it holds another class, or names code to run.
    """
    record = read_record(path)
    fix = "classifier_ckpt is the checkpoint of the classifier's `ppn fit`"
    expect_model(path, record, "ClassificationTask", fix)
    expect_trusted(path, record, None)
    return record
