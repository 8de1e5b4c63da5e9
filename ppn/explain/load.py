"""A fitted network from its checkpoint, ready to explain images."""

from __future__ import annotations

import json
from pathlib import Path

from ppn.allocator import keep_memory
from ppn.data.lists import read_text
from ppn.errors import DataError
from ppn.explain.gallery import FOLDER, Gallery, image_names
from ppn.explain.network import ExplainedClassifier
from ppn.models.loading import load_network


def load(
    path: str | Path, gallery: str | Path | None = None, architecture: str | None = None
) -> ExplainedClassifier:
    """Load what `ppn fit` wrote.

    Args:
        path: The checkpoint of a prototype network.
        gallery: Folder of the nearest training patches; None takes the one beside the folder of
            the checkpoint, where it is.
        architecture: Needed only if the model is made by your own code, as `module:factory`: a
            checkpoint alone never runs code.

    Raises:
        CheckpointError: If the file is unreadable or holds something else.
        DataError: If the gallery was named but is not there.
    """
    keep_memory()
    network = load_network(str(path), architecture)
    run_dir = Path(path).resolve().parent.parent
    folder = run_dir / FOLDER if gallery is None else Path(gallery)
    if gallery is not None and not folder.is_dir():
        raise DataError(f"{folder} is no folder: give the gallery that `ppn fit` wrote.")
    names: list[list[str]] = []
    described = run_dir / "prototypes.json"
    if described.exists():
        try:
            names = image_names(json.loads(read_text(described)))
        except json.JSONDecodeError as error:
            raise DataError(f"{described} is no JSON ({error}): delete it or fit again.") from None
    found = network.dictionary
    patches = Gallery(folder, names, found.patch_score[:, :, 0]) if folder.is_dir() else None
    return ExplainedClassifier(
        network.backbone,
        network.head,
        found,
        list(network.class_names),
        network.certificate,
        patches.patch if patches else None,
    )
