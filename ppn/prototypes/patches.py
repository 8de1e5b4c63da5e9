"""The nearest training patch of every prototype, as small pictures beside the checkpoint."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
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

    from ppn.data.dataset import ImageView
    from ppn.data.source import Source
    from ppn.prototypes.dictionary import PartDictionary
    from ppn.types import InputConfig

FOLDER = "gallery"
Names = Sequence[Sequence[Sequence[str]]]
PatchSource = Callable[[int, int, int], "Patch | None"]
"""Gives the patch of a class, prototype and rank, or None."""
Box = tuple[float, float, float, float]
_TILE = 128
_MARGIN = _TILE * CONTEXT / (1 + 2 * CONTEXT)
WHOLE: Box = (_MARGIN, _MARGIN, _TILE - _MARGIN, _TILE - _MARGIN)
"""The box around which `crop_patch` finds the whole of a gallery's tile again."""
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
        if not bool(dictionary.found[label]):  # its nearest patches are no patches
            continue
        pictures = [to_picture(pixels, view.transform.config) for pixels in batch["image"]]
        row = [tile(p, boxes[label * k + part]) for part, p in enumerate(pictures)]
        _write_row(folder, label, row)


def write_patches(dictionary: PartDictionary, patches: PatchSource, folder: Path) -> None:
    """Write the same from patches that are at hand; see `write_gallery`.

    Args:
        dictionary: What discovery has found.
        patches: Gives the patch of a class, prototype and rank.
        folder: Where the pictures go.

    Raises:
        DataError: If a picture cannot be written.
    """
    for label in dictionary.found.nonzero()[:, 0].tolist():
        row = [patches(label, part, 0) for part in range(dictionary.parts.shape[1])]
        found = [patch for patch in row if patch is not None]
        if len(found) == len(row):
            _write_row(folder, label, [tile(patch.image, patch.box) for patch in found])


def tile(picture: Image.Image, box: Box) -> Image.Image:
    """Return a patch with some of its surroundings, as a square of the gallery."""
    patch = crop_patch(picture, box, CONTEXT)
    return patch.resize((_TILE, _TILE), Image.Resampling.LANCZOS)


def _write_row(folder: Path, label: int, tiles: Sequence[Image.Image]) -> None:
    row = Image.new("RGB", (len(tiles) * _TILE, _TILE))
    for part, picture in enumerate(tiles):
        row.paste(picture, (part * _TILE, 0))
    buffer = io.BytesIO()
    row.save(buffer, "JPEG", quality=_QUALITY)
    write_bytes(folder / f"{label:05d}.jpg", buffer.getvalue())


class SourcePatches:
    """The patches of a network whose training images can be read again.

    A copy that is sent to another process holds the nearest patches, and no loader.

    Args:
        dictionary: What discovery has found.
        source: The training images.
        config: What the classifier expects of its input.
    """

    def __init__(self, dictionary: PartDictionary, source: Source, config: InputConfig) -> None:
        self._dictionary = dictionary
        self._source = source
        self._config = config

    def __call__(self, label: int, part: int, rank: int = 0) -> Patch | None:
        """Return the patch of a class, prototype and rank; None where its image is gone."""
        found = self._source.image(int(self._dictionary.patch_index[label, part, rank]))
        if found is None:
            return None
        x0, y0, x1, y1 = self._dictionary.patch_box[label, part, rank].tolist()
        score = float(self._dictionary.patch_score[label, part, rank])
        return Patch(to_picture(found[0], self._config), (x0, y0, x1, y1), score, found[1])

    def __reduce__(self) -> tuple[type[KeptPatches], tuple[dict[tuple[int, int], Patch]]]:
        """Pickle the nearest patches."""
        kept = {}
        for label in self._dictionary.found.nonzero()[:, 0].tolist():
            for part in range(self._dictionary.parts.shape[1]):
                patch = self(label, part)
                if patch is not None:
                    kept[label, part] = replace(
                        patch, image=tile(patch.image, patch.box), box=WHOLE, place=patch.box
                    )
        return KeptPatches, (kept,)


class KeptPatches:
    """The nearest patch of each prototype, in memory.

    Args:
        patches: By class and prototype.
    """

    def __init__(self, patches: dict[tuple[int, int], Patch]) -> None:
        self._patches = patches

    def __call__(self, label: int, part: int, rank: int = 0) -> Patch | None:
        """Return the nearest patch; None where there is none, or another one is asked for."""
        return None if rank else self._patches.get((label, part))


class Gallery:
    """Reads what `write_gallery` wrote.

    Args:
        folder: The folder of pictures.
        names: Names of the nearest training images, [class][prototype][rank]; may be empty.
        dictionary: What discovery has found.
    """

    def __init__(self, folder: Path, names: Names, dictionary: PartDictionary) -> None:
        self.folder = folder
        self.names = names
        self.dictionary = dictionary

    def patch(self, label: int, part: int, rank: int = 0) -> Patch | None:
        """Return the nearest patch of a prototype; None where there is no picture of it."""
        if rank > 0:  # only the nearest is kept
            return None
        try:
            row = read_image(self.folder / f"{label:05d}.jpg")
        except DataError:
            return None
        picture = row.crop((part * _TILE, 0, (part + 1) * _TILE, _TILE))
        name = self.names[label][part][0] if self.names and self.names[label][part] else ""
        x0, y0, x1, y1 = self.dictionary.patch_box[label, part, 0].tolist()
        score = float(self.dictionary.patch_score[label, part, 0])
        return Patch(picture, WHOLE, score, name, place=(x0, y0, x1, y1))
