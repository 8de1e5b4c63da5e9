"""A fitted network from its files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppn.classifier import Classifier
from ppn.classifier.hugging_face import read_processor
from ppn.data.conversion import Preprocessing, expect_transform
from ppn.errors import CheckpointError, DataError
from ppn.io.files import user_path
from ppn.prototypes.checkpoint import load_checkpoint
from ppn.prototypes.files import read_prototypes
from ppn.prototypes.hub import SCHEME, pull
from ppn.prototypes.network import PrototypeNetwork
from ppn.prototypes.patches import FOLDER, Gallery
from ppn.prototypes.whole import WEIGHTS, read_classifier

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn


def load(
    path: str | Path,
    gallery: str | Path | None = None,
    architecture: str | None = None,
    model: nn.Module | None = None,
    transform: Callable[..., Any] | None = None,
) -> PrototypeNetwork:
    """Load what `ppn fit` or `PrototypeNetwork.save` wrote.

    Args:
        path: The checkpoint of a prototype network; or, with `model`, a folder with
            `prototypes.safetensors` and `prototypes.json`; or `hf://USER/NAME[@REVISION]`, such a
            folder on the Hugging Face Hub. Without `model`, a folder must hold the classifier too.
        gallery: Folder of the nearest training patches; None takes the one of the run, where it
            is.
        architecture: Needed only if a checkpoint's model is made by your own code, as
            `module:factory`: a checkpoint alone never runs code.
        model: The classifier that a folder of prototypes was found for. It is used as it is, on
            its device.
        transform: What image files, pictures and arrays go through before the classifier; None
            does as the processor that is kept with the prototypes, or else the input config, says.

    Raises:
        CheckpointError: If files are unreadable, hold something else, or belong to another
            classifier.
        HeadError: If the classifier has no last linear layer.
        DataError: If the gallery was named but is not there.
    """
    path = pull(str(path)) if str(path).startswith(SCHEME) else user_path(path)
    expect_transform(transform)
    whole = path.is_dir() and (path / WEIGHTS).is_file()
    if not whole and path.is_dir() != (model is not None):
        kind = "a folder" if path.is_dir() else "not a folder"
        raise CheckpointError(
            f"{path} is {kind}: give a checkpoint alone, or a folder of prototypes together with "
            "model, the classifier they were found for."
        )
    if gallery is not None and not Path(gallery).is_dir():
        raise DataError(f"{gallery} is not a folder: give the gallery that `ppn fit` wrote.")
    if not path.is_dir():
        network = load_checkpoint(str(path), architecture)
        place = path.resolve().parent.parent / FOLDER
    else:
        network = _from_folder(path, model)
        place = path / FOLDER
    place = place if gallery is None else Path(gallery)
    if place.is_dir():
        network.patches = Gallery(place, network.image_names, network.dictionary).patch
    if transform is None and network.settings.get("processor"):
        transform = read_processor(network.settings["processor"])
    doubt = _UNSAVED if transform is None and network.settings.get("transform") else None
    network.preprocessing = Preprocessing(network.input_config, transform, doubt=doubt)
    return network


_UNSAVED = (
    "Prototypes were found with a transform, which files cannot hold: give it to ppn.load as "
    "transform= to have images preprocessed alike."
)


def _from_folder(folder: Path, model: nn.Module | None) -> PrototypeNetwork:
    stored = read_prototypes(folder)
    if model is None:
        model = read_classifier(folder, stored)
    options = stored.structure.get("model_options") or {}
    features = stored.structure.get("features") or options.get("features")
    classifier = Classifier(model, stored.input, features)
    count, k, width, patches = stored.shape
    weight, _ = classifier.effective_head()
    if (count, width) != tuple(weight.shape):  # before memory is taken for another size
        stored.expect_classifier(folder, classifier.model, *classifier.effective_head())
    network = PrototypeNetwork(classifier, k, {}, patches)
    network.take(stored, folder)
    network.structure = dict(stored.structure)
    return network
