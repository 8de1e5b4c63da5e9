"""FGVC-Aircraft (Maji et al., 2013): 100 variants in 70 families by 41 manufacturers, boxes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from torchvision.datasets import FGVCAircraft

from ppn.data.download import Archive
from ppn.data.listed import ImageList
from ppn.data.lists import read_rows, read_text
from ppn.data.published import Card, PublishedDataModule
from ppn.data.torchvision_sets import check_list, read_with_torchvision, relative
from ppn.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ppn.data.dataset import Annotated

BANNER = 20
"""Rows at the lower edge of each photograph that show its copyright, to be cut off (README)."""
Level = Literal["variant", "family", "manufacturer"]
_CLASSES = {
    "variant": "data/variants.txt",
    "family": "data/families.txt",
    "manufacturer": "data/manufacturers.txt",
}
CARD = Card(
    name="aircraft",
    title="FGVC-Aircraft",
    folder="fgvc-aircraft-2013b",
    layout=(
        "data/images_variant_trainval.txt",
        "data/images_variant_test.txt",
        "data/images_box.txt",
        "data/variants.txt",
        "data/families.txt",
        "data/manufacturers.txt",
        "data/images",
    ),
    classes=100,
    train=6667,
    test=3333,
    annotations="boxes; variant, family and manufacturer of each image",
    licence="non-commercial research",
    page="https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/",
    citation="Maji et al., Fine-Grained Visual Classification of Aircraft, arXiv 1306.5151, 2013",
    archives=(
        Archive(
            "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/"
            "fgvc-aircraft-2013b.tar.gz",
            "d4acdd33327262359767eeaa97a4f732",
        ),
    ),
)


class Aircraft(ImageList):
    """One official split of FGVC-Aircraft; training joins the official `train` and `val` lists.

    The photographs' lowest 20 rows carry a copyright banner, which `read` cuts off, as the data
    set's authors demand.

    Args:
        root: The folder `fgvc-aircraft-2013b`.
        split: Official split.
        level: What a class is.

    Raises:
        DataError: If a list is missing or a line does not fit the others.
    """

    def __init__(
        self, root: Path, split: Literal["train", "test"], level: Level = "variant"
    ) -> None:
        official = "trainval" if split == "train" else "test"
        classes = {line.strip() for line in read_text(root / _CLASSES[level]).splitlines()}
        path = root / f"data/images_{level}_{official}.txt"
        for number, (_, name) in check_list(path, 2):
            if name not in classes:
                raise DataError(f"{path}, line {number}: {_CLASSES[level]} does not list '{name}'.")
        source = read_with_torchvision(
            FGVCAircraft, root, CARD.folder, split=official, annotation_level=level
        )
        paths = relative(source._image_files, root)
        super().__init__(root, paths, source._labels, source.classes, self._read_boxes(root, paths))

    def read(self, index: int) -> Annotated:
        """Return image `index` without its banner, with its box."""
        sample = super().read(index)
        width, height = sample.image.size
        sample.image = sample.image.crop((0, 0, width, height - BANNER))
        return sample

    @staticmethod
    def _read_boxes(root: Path, paths: list[str]) -> NDArray[np.float64]:
        path = root / "data/images_box.txt"
        row_of = {Path(name).stem: row for row, name in enumerate(paths)}
        boxes = np.full((len(paths), 4), np.nan)
        for _, fields in read_rows(path, 5, numbers=4):
            if fields[0] in row_of:
                x0, y0, x1, y1 = (float(value) for value in fields[1:])
                boxes[row_of[fields[0]]] = [x0 - 1, y0 - 1, x1, y1]  # counted from 1, both included
        absent = np.flatnonzero(np.isnan(boxes).any(1))
        if len(absent):
            raise DataError(f"{path} has no line for image {Path(paths[int(absent[0])]).stem}.")
        return boxes


class AircraftDataModule(PublishedDataModule):
    """FGVC-Aircraft with its official test split; validation images are carved from training.

    Args:
        root: The folder `fgvc-aircraft-2013b`, or the folder that holds it.
        level: What a class is: one of 100 variants, 70 families or 41 manufacturers.
        download: Get it from its official source first if it is not there.
        options: See `FineGrainedDataModule`.
    """

    card = CARD

    def __init__(
        self, root: str, level: Level = "variant", download: bool = False, **options: Any
    ) -> None:
        super().__init__(root=root, download=download, **options)
        self.level: Level = level
        self.card = replace(CARD, classes={"variant": 100, "family": 70, "manufacturer": 41}[level])

    def read_folder(self, folder: Path, split: Literal["train", "test"]) -> Aircraft:
        """Return an official split at the chosen level."""
        return Aircraft(folder, split, self.level)
