"""A fitted network from its files, ready to explain images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ppn.classifier import Classifier
from ppn.errors import CheckpointError, DataError
from ppn.prototypes.dictionary import PartDictionary
from ppn.prototypes.files import DESCRIPTION, read_prototypes
from ppn.prototypes.head import PrototypeHead
from ppn.prototypes.network import PrototypeNetwork
from ppn.prototypes.patches import FOLDER, Gallery, read_names
from ppn.tasks.loading import load_network
from ppn.tasks.stored_prototypes import describe

if TYPE_CHECKING:
    from torch import nn

    from ppn.prototypes.stored import Prototypes


def load(
    path: str | Path,
    gallery: str | Path | None = None,
    architecture: str | None = None,
    model: nn.Module | None = None,
) -> PrototypeNetwork:
    """Load what `ppn fit` or `PrototypeNetwork.save` wrote.

    Args:
        path: The checkpoint of a prototype network; or, with `model`, a folder with
            `prototypes.safetensors` and `prototypes.json`.
        gallery: Folder of the nearest training patches; None takes the one of the run, where it
            is.
        architecture: Needed only if a checkpoint's model is made by your own code, as
            `module:factory`: a checkpoint alone never runs code.
        model: The classifier that a folder of prototypes was found for. It is used as it is, on
            its device, and switched to evaluation mode.

    Raises:
        CheckpointError: If files are unreadable, hold something else, or belong to another
            classifier.
        HeadError: If the classifier has no last linear layer.
        DataError: If the gallery was named but is not there.
    """
    path = Path(path)
    if path.is_dir() != (model is not None):
        kind = "a folder" if path.is_dir() else "no folder"
        raise CheckpointError(
            f"{path} is {kind}: give a checkpoint alone, or a folder of prototypes together with "
            "model, the classifier they were found for."
        )
    if gallery is not None and not Path(gallery).is_dir():
        raise DataError(f"{gallery} is no folder: give the gallery that `ppn fit` wrote.")
    if model is not None:
        return _from_folder(path, path / FOLDER if gallery is None else Path(gallery), model)
    run_dir = path.resolve().parent.parent
    return _from_checkpoint(
        path, run_dir, run_dir / FOLDER if gallery is None else Path(gallery), architecture
    )


def _from_checkpoint(
    path: Path, run_dir: Path, gallery: Path, architecture: str | None
) -> PrototypeNetwork:
    network = load_network(str(path), architecture)
    found = network.dictionary
    listed = run_dir / DESCRIPTION
    names = read_names(listed, found) if listed.exists() else []
    patches = Gallery(gallery, names, found.patch_score[:, :, 0]) if gallery.is_dir() else None

    def described() -> Prototypes:
        stored = describe(network, "training image {}".format)
        return replace(stored, images=names) if names else stored

    return PrototypeNetwork(
        network.classifier,
        network.head,
        found,
        network.class_names,
        network.certificate,
        described,
        patches.patch if patches else None,
    )


def _from_folder(folder: Path, gallery: Path, model: nn.Module) -> PrototypeNetwork:
    stored = read_prototypes(folder)
    options = stored.structure.get("model_options") or {}
    features = stored.structure.get("features") or options.get("features")
    classifier = Classifier(model, stored.input, features).eval()
    weight, bias = classifier.effective_head()
    stored.expect_classifier(folder, classifier.model, weight, bias)
    count, k, width, patches = stored.shape
    head = PrototypeHead(count, k, width)
    dictionary = PartDictionary(count, k, width, patches)
    stored.fill(head, dictionary)
    scores = dictionary.patch_score[:, :, 0]
    shown = Gallery(gallery, stored.images, scores) if gallery.is_dir() else None
    return PrototypeNetwork(
        classifier,
        head.to(weight.device),
        dictionary.to(weight.device),
        stored.class_names,
        stored.certificate,
        lambda: stored,
        shown.patch if shown else None,
    )
