"""The nearest training patch of every prototype, as small pictures beside the checkpoint."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from PIL import Image
from torch.utils.data import DataLoader

from ppn.data.images import read_image
from ppn.data.transforms import to_picture
from ppn.errors import DataError
from ppn.explanation.record import Patch
from ppn.io.files import write_bytes
from ppn.visualization.heatmap import crop_patch
from ppn.visualization.images import CONTEXT

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from ppn.data.dataset import ImageView
    from ppn.prototypes.dictionary import PartDictionary

FOLDER = "gallery"
Names = Sequence[Sequence[Sequence[str]]]
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
        names: Names of the nearest training images, [class][prototype][rank]; may be empty.
        scores: (C, k) similarity of patch and prototype.
    """

    def __init__(self, folder: Path, names: Names, scores: torch.Tensor) -> None:
        self.folder = folder
        self.names = names
        self.scores = scores

    def patch(self, label: int, part: int, rank: int = 0) -> Patch | None:
        """Return the nearest patch of a prototype; None where there is no picture of it."""
        if rank > 0:  # only the nearest is kept
            return None
        try:
            row = read_image(self.folder / f"{label:05d}.jpg")
        except DataError:
            return None
        tile = row.crop((part * _TILE, 0, (part + 1) * _TILE, _TILE))
        # The box around which `crop_patch` finds the whole tile again.
        margin = _TILE * CONTEXT / (1 + 2 * CONTEXT)
        box = (margin, margin, _TILE - margin, _TILE - margin)
        name = self.names[label][part][0] if self.names and self.names[label][part] else ""
        return Patch(tile, box, float(self.scores[label, part]), name)
