"""The classifier beside its prototypes, so that a folder is a whole network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import timm
from safetensors.torch import save

from ppn.classifier.architecture import TORCHVISION, is_code, make_model
from ppn.classifier.hugging_face import HUGGING_FACE, describe
from ppn.errors import CheckpointError, DataError
from ppn.io.files import write_bytes
from ppn.io.tensors import misfit, parse_tensors

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from ppn.prototypes.network import PrototypeNetwork
    from ppn.prototypes.stored import Prototypes

WEIGHTS = "classifier.safetensors"
_OPTIONS = (str, int, float, bool, type(None))
_LOADING = ("pretrained", "checkpoint", "cache_dir", "scriptable", "exportable", "features_only")
"""Beginnings of options that would load a file or make another kind of module."""


def write_classifier(network: PrototypeNetwork, folder: Path) -> None:
    """Write a classifier's weights, and note in the network how its module is made.

    Args:
        network: The network.
        folder: Where its prototypes go, too.

    Raises:
        DataError: If the module cannot be made by timm, torchvision or transformers, or the file
            cannot be written.
    """
    structure = _structure(network)
    model = network.classifier.model
    if not _makes(structure, len(network.class_names), model.state_dict()):
        raise DataError(
            "The classifier is not one that timm, torchvision or transformers make by name, so its "
            "weights would not bring it back: leave it out, and give it to ppn.load as model=."
        )
    network.structure = structure
    state = model.state_dict()
    # Weights that are shared are written once for each name.
    content = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()}
    write_bytes(folder / WEIGHTS, save(content))


def read_classifier(folder: Path, stored: Prototypes) -> nn.Module:
    """Make the classifier that `write_classifier` has written; no code of the folder runs.

    Args:
        folder: The folder.
        stored: What its `prototypes.json` says.

    Raises:
        CheckpointError: If it names a module that is not timm's or torchvision's, or the weights
            are not those of it.
    """
    structure = stored.structure
    try:
        if not _allowed(structure):
            raise ValueError(f"it names {str(structure.get('architecture'))[:60]!r}")
        classes = stored.shape[0]
        model = _made(structure, classes)
        state = parse_tensors((folder / WEIGHTS).read_bytes())
        wrong = misfit(state, model.state_dict())
        if wrong is not None:
            raise ValueError(f"{WEIGHTS} does not fit, {wrong}")
    except (OSError, ValueError, CheckpointError) as error:
        raise CheckpointError(
            f"The classifier in {folder} cannot be made ({str(error).rstrip('.')}): give it to "
            "ppn.load as model=."
        ) from None
    model.load_state_dict(state)
    return model.eval()


def _structure(network: PrototypeNetwork) -> dict[str, Any]:
    """How the module is made, as far as it says so itself."""
    structure = {**network.structure, **(describe(network.classifier.model) or {})}
    if not structure.get("architecture"):
        said = getattr(network.classifier.model, "pretrained_cfg", None) or {}
        structure["architecture"] = said.get("architecture")
    height, width = network.input_config.size
    if not structure.get("image_size") and height == width:
        structure["image_size"] = height
    channels = network.input_config.channels
    if not structure.get("model_options") and channels != 3:
        structure["model_options"] = {"in_chans": channels}
    return structure


def _allowed(structure: dict[str, Any]) -> bool:
    """Whether a module is timm's or torchvision's own, with options that load nothing."""
    name, options = structure.get("architecture"), structure.get("model_options") or {}
    if not isinstance(name, str) or is_code(name):
        return False
    if name.startswith(HUGGING_FACE):
        return isinstance(options.get("config"), dict)
    known = name.startswith(TORCHVISION) or timm.is_model(name)
    plain = all(isinstance(value, _OPTIONS) for value in options.values())
    return known and plain and not any(str(key).startswith(_LOADING) for key in options)


def _made(structure: dict[str, Any], classes: int) -> nn.Module:
    made = make_model(
        structure["architecture"],
        classes,
        False,
        structure.get("image_size"),
        structure.get("model_options"),
    )
    return made.model


def _makes(structure: dict[str, Any], classes: int, state: dict[str, Tensor]) -> bool:
    """Whether the module's name gives a module for these weights."""
    if not _allowed(structure):
        return False
    try:
        return misfit(state, _made(structure, classes).state_dict()) is None
    except CheckpointError:
        return False
