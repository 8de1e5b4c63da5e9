"""The nearest training patch of every prototype, as small pictures beside the checkpoint."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from PIL import Image
from torch.utils.data import DataLoader

from ppn.data.images import read_image
from ppn.errors import DataError
from ppn.files import write_bytes
from ppn.report.content import Patch
from ppn.report.heatmap import crop_patch
from ppn.report.images import CONTEXT, to_picture

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import torch

    from ppn.data.dataset import ImageView
    from ppn.decomposition.dictionary import PartDictionary

FOLDER = "gallery"
_TILE = 128
_QUALITY = 88


def write_gallery(
    dictionary: PartDictionary, view: ImageView, folder: Path, num_workers: int = 0
) -> None:
    """Write one picture per class: a row of k square patches, with some of their surroundings.

    Args:
        dictionary: What discovery has found.
        view: The training images, as discovery saw them.
        folder: Where the pictures go, named by label.
        num_workers: Processes that load images.

    Raises:
        DataError: If a picture cannot be written.
    """
    k = dictionary.parts.shape[1]
    nearest = dictionary.patch_index[:, :, 0].flatten().tolist()
    boxes = dictionary.patch_box[:, :, 0].flatten(0, 1).tolist()
    images = DataLoader(view.at(nearest), batch_size=k, num_workers=num_workers)
    for label, batch in enumerate(images):
        row = Image.new("RGB", (k * _TILE, _TILE))
        for part, pixels in enumerate(batch["image"]):
            picture = to_picture(pixels, view.transform.config)
            patch = crop_patch(picture, boxes[label * k + part], CONTEXT)
            row.paste(patch.resize((_TILE, _TILE), Image.Resampling.LANCZOS), (part * _TILE, 0))
        buffer = io.BytesIO()
        row.save(buffer, "JPEG", quality=_QUALITY)
        write_bytes(folder / f"{label:05d}.jpg", buffer.getvalue())


class Gallery:
    """Reads what `write_gallery` wrote.

    Args:
        folder: The folder of pictures.
        names: For each class and prototype the name of the nearest training image; may be empty.
        scores: (C, k) similarity of patch and prototype.
    """

    def __init__(self, folder: Path, names: Sequence[Sequence[str]], scores: torch.Tensor) -> None:
        self.folder = folder
        self.names = names
        self.scores = scores

    def patch(self, label: int, part: int) -> Patch | None:
        """Return the nearest patch of a prototype; None where there is no picture of it."""
        try:
            row = read_image(self.folder / f"{label:05d}.jpg")
        except DataError:
            return None
        tile = row.crop((part * _TILE, 0, (part + 1) * _TILE, _TILE))
        # The box around which `crop_patch` finds the whole tile again.
        margin = _TILE * CONTEXT / (1 + 2 * CONTEXT)
        box = (margin, margin, _TILE - margin, _TILE - margin)
        name = self.names[label][part] if self.names else ""
        return Patch(tile, box, float(self.scores[label, part]), name)


def image_names(prototypes: dict[str, Any]) -> list[list[str]]:
    """Return the nearest image of each prototype from the content of `prototypes.json`.

    Raises:
        DataError: If the content is of another kind.
    """
    try:
        return [
            [str(patches[0]["image"]) if patches else "" for patches in entry["prototypes"]]
            for entry in prototypes["classes"]
        ]
    except (KeyError, TypeError, IndexError):
        raise DataError(
            "prototypes.json is not what `ppn fit` writes: delete it or fit again."
        ) from None
