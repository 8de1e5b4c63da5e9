"""Food-101 (Bossard et al., 2014): 101 dishes; training labels are noisy on purpose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torchvision.datasets import Food101

from ppn.data.download import Archive
from ppn.data.listed import ImageList
from ppn.data.lists import read_json
from ppn.data.published import Card, PublishedDataModule
from ppn.data.torchvision_sets import read_with_torchvision, relative
from ppn.errors import DataError
from ppn.io.schema import mismatch

if TYPE_CHECKING:
    from pathlib import Path

CARD = Card(
    name="food",
    title="Food-101",
    folder="food-101",
    layout=("meta/train.json", "meta/test.json", "images"),
    classes=101,
    train=75750,
    test=25250,
    annotations="none",
    licence="scientific fair use; images belong to their photographers",
    page="https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
    citation="Bossard et al., Food-101: Mining Discriminative Components with Random Forests, "
    "ECCV 2014",
    archives=(
        Archive(
            "http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz", "85eeb15f3717b99a5da872d97d918f87"
        ),
    ),
)


class FoodDataModule(PublishedDataModule):
    """Food-101 with its official split; validation images are carved from training.

    Args:
        root: The folder `food-101`, or the folder that holds it.
        download: Get it from its official source first if it is not there.
        options: See `FineGrainedDataModule`.
    """

    card = CARD

    def read_folder(self, folder: Path, split: Literal["train", "test"]) -> ImageList:
        """Return an official split."""
        path = folder / f"meta/{split}.json"
        listed = read_json(path)
        wrong = mismatch(listed, {str: [str]})
        if wrong is not None:
            raise DataError(
                f"{path} does not list images by class ({wrong}): get the official file."
            )
        source = read_with_torchvision(Food101, folder, CARD.folder, split=split)
        names = [name.replace("_", " ") for name in source.classes]
        return ImageList(folder, relative(source._image_files, folder), source._labels, names)
