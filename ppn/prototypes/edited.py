"""An edited network as a run of its own, which every command takes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppn.errors import DataError
from ppn.io.files import write_json
from ppn.prototypes.checkpoint import save_edited
from ppn.prototypes.patches import FOLDER

if TYPE_CHECKING:
    from ppn.prototypes.network import PrototypeNetwork


def expect_free(folder: Path) -> None:
    """Refuse to write over another network.

    Raises:
        DataError: If there is one.
    """
    if _checkpoint(folder).exists():
        raise DataError(f"{_checkpoint(folder)} is there already: choose another folder.")


def write_edited(
    network: PrototypeNetwork, ckpt: str, folder: Path, effect: dict[str, Any] | None = None
) -> Path:
    """Write a network that was loaded from a checkpoint and edited since.

    Args:
        network: The network; it is not used again.
        ckpt: The checkpoint that it was loaded from.
        folder: Gets checkpoints/prototypes.ckpt, prototypes.safetensors, prototypes.json, gallery/
            and edits.json.
        effect: What the edits do to a set of images, where that was counted.

    Returns:
        The checkpoint.

    Raises:
        DataError: If files cannot be written, or there is a network already.
    """
    expect_free(folder)
    save_edited(network, ckpt, _checkpoint(folder))
    network.patches = None  # the gallery is copied as it is
    network.save(folder)
    gallery = Path(ckpt).resolve().parent.parent / FOLDER
    if gallery.is_dir() and not (folder / FOLDER).exists():
        shutil.copytree(gallery, folder / FOLDER)
    content = {
        "from": str(ckpt),
        "edits": [made.to_dict() for made in network.edits],
        "what": [made.words(network.class_names) for made in network.edits],
        "effect": effect,
    }
    write_json(folder / "edits.json", content)
    return _checkpoint(folder)


def _checkpoint(folder: Path) -> Path:
    return folder / "checkpoints" / "prototypes.ckpt"
